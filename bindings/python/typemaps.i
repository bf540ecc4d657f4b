/* How libdstack's types look in Python: bytes, str, int, handles; statuses become exceptions. */
%{
static PyObject *dstack_error_class; /* makes an exception; set once by the package */

static void raise_status(int status, const char *message) {
    PyObject *value = NULL;
    if (dstack_error_class != NULL) {
        value = PyObject_CallFunction(dstack_error_class, "iss", status,
                                      dstack_status_name((dstack_status)status), message);
    }
    if (value != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        Py_DECREF(value);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, message);
    }
}

/* A new reference to a bytes object with the content of `value`: a str gives its UTF-8. The callee
 * reads it while other threads run, so anything that could change is copied. */
static PyObject *bytes_held(PyObject *value) {
    if (PyBytes_Check(value)) {
        Py_INCREF(value);
        return value;
    }
    if (value == Py_None) {
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    if (PyUnicode_Check(value)) {
        return PyUnicode_AsUTF8String(value);
    }
    if (!PyObject_CheckBuffer(value)) {
        PyErr_Format(PyExc_TypeError, "bytes expected, not %.80s", Py_TYPE(value)->tp_name);
        return NULL;
    }
    return PyBytes_FromObject(value);
}

static int flat_refuse(dstack_error *err, const char *message) {
    if (err != NULL) {
        err->status = DSTACK_E_ARGUMENT;
        strncpy(err->message, message, sizeof err->message - 1);
        err->message[sizeof err->message - 1] = '\0';
    }
    return DSTACK_E_ARGUMENT;
}
%}

%typemap(in) dstack_bytes (PyObject *held = NULL) {
    held = bytes_held($input);
    if (held == NULL) {
        SWIG_fail;
    }
    $1.data = (const uint8_t *)PyBytes_AS_STRING(held);
    $1.len = (size_t)PyBytes_GET_SIZE(held);
}
%typemap(freearg) dstack_bytes "Py_XDECREF(held$argnum);"
%typemap(out) dstack_bytes {
    $result = PyBytes_FromStringAndSize((const char *)$1.data, (Py_ssize_t)$1.len);
}

%typemap(in, numinputs=0) dstack_error *err (dstack_error failure = {0}) "$1 = &failure;"
%typemap(argout) dstack_error *err {
    if (result < 0) {
        Py_XDECREF($result);
        $result = NULL;
        raise_status(result, failure$argnum.message);
        SWIG_fail;
    }
}
%typemap(out) int {
    (void)$1;
    $result = SWIG_Py_Void();
}

%typemap(in, numinputs=0) dstack_buf * (dstack_buf made = {0}) "$1 = &made;"
%typemap(argout) dstack_buf * {
    if (result == 0) {
        $result = SWIG_Python_AppendOutput(
            $result, PyBytes_FromStringAndSize((const char *)made$argnum.data,
                                               (Py_ssize_t)made$argnum.len));
    }
}
%typemap(freearg) dstack_buf * "dstack_buf_clear(&made$argnum);"

/* Text with a zero byte would be cut short in C, and mean something else there than here. */
%typemap(in) const char * {
    Py_ssize_t len = 0;
    $1 = NULL;
    if ($input != Py_None) {
        $1 = (char *)PyUnicode_AsUTF8AndSize($input, &len);
        if ($1 == NULL) {
            SWIG_fail;
        }
        if (strlen($1) != (size_t)len) {
            PyErr_SetString(PyExc_ValueError, "text must not hold zero bytes");
            SWIG_fail;
        }
    }
}
%typemap(freearg) const char * ""

/* Secrets enter guarded memory for the call; what a call gives leaves it, as bytes that only Python
 * can release. */
%typemap(in) const dstack_secret * (dstack_secret *copy = NULL) {
    PyObject *held = bytes_held($input);
    if (held == NULL) {
        SWIG_fail;
    }
    copy = dstack_secret_copy((const uint8_t *)PyBytes_AS_STRING(held),
                              (size_t)PyBytes_GET_SIZE(held));
    Py_DECREF(held);
    if (copy == NULL) {
        PyErr_SetString(PyExc_ValueError, "a secret must not be empty");
        SWIG_fail;
    }
    $1 = copy;
}
%typemap(freearg) const dstack_secret * "dstack_secret_free(copy$argnum);"
%typemap(in, numinputs=0) dstack_secret ** (dstack_secret *made = NULL) "$1 = &made;"
%typemap(argout) dstack_secret ** {
    if (result == 0) {
        $result = SWIG_Python_AppendOutput(
            $result,
            PyBytes_FromStringAndSize((const char *)dstack_secret_peek(made$argnum),
                                      (Py_ssize_t)dstack_secret_len(made$argnum)));
    }
}
%typemap(freearg) dstack_secret ** "dstack_secret_free(made$argnum);"

%define FIXED_OUTPUT(NAME)
%typemap(in, numinputs=0) uint8_t NAME[ANY] (uint8_t made[$1_dim0] = {0}) "$1 = made;"
%typemap(argout) uint8_t NAME[ANY] {
    $result = SWIG_Python_AppendOutput(
        $result, PyBytes_FromStringAndSize((const char *)made$argnum, $1_dim0));
}
%typemap(freearg) uint8_t NAME[ANY] ""
%enddef
FIXED_OUTPUT(out)
FIXED_OUTPUT(public_key)
FIXED_OUTPUT(app_public)
FIXED_OUTPUT(signer)
FIXED_OUTPUT(app_id)
FIXED_OUTPUT(instance_id)
FIXED_OUTPUT(compose_hash)
FIXED_OUTPUT(mrtd)
FIXED_OUTPUT(rtmr0)
FIXED_OUTPUT(rtmr1)
FIXED_OUTPUT(rtmr2)
FIXED_OUTPUT(rtmr3)

%typemap(in, numinputs=0) char out[65] (char made[65] = "") "$1 = made;"
%typemap(argout) char out[65] {
    $result = SWIG_Python_AppendOutput($result, PyUnicode_FromString(made$argnum));
}
%typemap(freearg) char out[65] ""
%typemap(in, numinputs=0) int64_t *expires (int64_t made = 0) "$1 = &made;"
%typemap(argout) int64_t *expires {
    $result = SWIG_Python_AppendOutput($result, PyLong_FromLongLong(made$argnum));
}

/* An opaque object: Python owns what a call makes and frees it once. */
%define HANDLE(T)
%nodefaultctor T;
%newobject T##_new;
typedef struct T {} T;
%extend T { ~T() { T##_free($self); } }
%typemap(in, numinputs=0) T **out (T *made = NULL) "$1 = &made;"
%typemap(argout) T **out {
    if (result == 0) {
        $result = SWIG_Python_AppendOutput(
            $result, made$argnum == NULL
                         ? SWIG_Py_Void()
                         : SWIG_NewPointerObj(made$argnum, $*1_descriptor, SWIG_POINTER_OWN));
    }
}
%enddef

%nothread set_error_class;
%inline %{
static void set_error_class(PyObject *type) {
    Py_INCREF(type);
    Py_XDECREF(dstack_error_class);
    dstack_error_class = type;
}
%}
