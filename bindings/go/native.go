// Package dstack is the Go side of libdstack: clients of the guest agent, verification of what runs
// in a confidential VM, and TLS that demands evidence.
//
// Everything may be used by several goroutines at once. What is made by a New function may be closed;
// what is not, the garbage collector releases. A closed object answers ErrClosed.
package dstack

/*
#cgo pkg-config: dstack
#include <dstack/attestation.h>
#include <dstack/cert.h>
#include <dstack/envelope.h>
#include <dstack/error.h>
#include <dstack/keys.h>
#include <dstack/manifest.h>
#include <dstack/measure.h>
#include <dstack/version.h>
#include <stdlib.h>

static const char *binding_message(const dstack_error *err) { return err->message; }
*/
import "C"

import (
	"errors"
	"runtime"
	"sync"
	"unsafe"
)

// Version of the library.
func Version() string { return C.GoString(C.dstack_version()) }

// ErrClosed is what methods of a closed object give.
var ErrClosed = errors.New("dstack: use of a closed object")

// Error is a failed call of the library: a negative status, its stable name such as
// "dcap.quote.signature", and a sentence for people.
type Error struct {
	Status  int
	Name    string
	Message string
}

func (e *Error) Error() string { return e.Message + " (" + e.Name + ")" }

// Kinds of errors, for errors.Is.
var (
	// ErrArgument: a value outside its range, or bytes not of the required form.
	ErrArgument = errors.New("dstack: bad argument")
	// ErrRefused: evidence, a certificate, a signature or a policy check did not hold.
	ErrRefused = errors.New("dstack: refused")
)

// Is tells whether an error is of a kind.
func (e *Error) Is(kind error) bool {
	switch kind {
	case ErrArgument:
		return e.Status == C.DSTACK_E_ARGUMENT || e.Status == C.DSTACK_E_FORMAT
	case ErrRefused:
		return e.Status == C.DSTACK_E_CRYPTO || e.Status == C.DSTACK_E_REFUSED || e.Status <= -100
	}
	return false
}

func refused(message string) error {
	return &Error{int(C.DSTACK_E_REFUSED), "refused", message}
}

// The error of a status; nil for 0.
func failure(status C.int, err *C.dstack_error) error {
	if status == 0 {
		return nil
	}
	name := C.GoString(C.dstack_status_name(C.dstack_status(status)))
	return &Error{int(status), name, C.GoString(C.binding_message(err))}
}

// memory is what one call lends to C: copies, so that C never sees memory of Go that may move.
type memory []unsafe.Pointer

func (m *memory) bytes(data []byte) C.dstack_bytes {
	if len(data) == 0 {
		return C.dstack_bytes{}
	}
	copied := C.CBytes(data)
	*m = append(*m, copied)
	return C.dstack_bytes{data: (*C.uint8_t)(copied), len: C.size_t(len(data))}
}

// Text as C reads it; nil for "". Text with a zero byte would be cut: the call must refuse it.
func (m *memory) text(text string) *C.char {
	if text == "" {
		return nil
	}
	copied := C.CString(text)
	*m = append(*m, unsafe.Pointer(copied))
	return copied
}

func (m *memory) free() {
	for _, one := range *m {
		C.free(one)
	}
	*m = nil
}

func whole(texts ...string) error {
	for _, text := range texts {
		for i := 0; i < len(text); i++ {
			if text[i] == 0 {
				return &Error{int(C.DSTACK_E_ARGUMENT), "argument", "text must not hold zero bytes"}
			}
		}
	}
	return nil
}

// take gives a buffer's content and clears it.
func take(buf *C.dstack_buf) []byte {
	defer C.dstack_buf_clear(buf)
	return C.GoBytes(unsafe.Pointer(buf.data), C.int(buf.len))
}

// secret copies bytes into guarded memory; free it with C.dstack_secret_free.
func secret(data []byte) (*C.dstack_secret, error) {
	if len(data) == 0 {
		return nil, &Error{int(C.DSTACK_E_ARGUMENT), "argument", "a secret must not be empty"}
	}
	made := C.dstack_secret_copy((*C.uint8_t)(unsafe.Pointer(&data[0])), C.size_t(len(data)))
	if made == nil {
		return nil, &Error{int(C.DSTACK_E_MEMORY), "memory", "no guarded memory"}
	}
	return made, nil
}

// handle owns one object of the library. It is released once: by close, or by the garbage collector
// when nothing refers to it any more; never while a call that holds it runs.
type handle struct {
	lock    sync.RWMutex
	pointer unsafe.Pointer
	release func(unsafe.Pointer)
}

func newHandle(pointer unsafe.Pointer, release func(unsafe.Pointer)) *handle {
	h := &handle{pointer: pointer, release: release}
	runtime.SetFinalizer(h, (*handle).close)
	return h
}

// hold gives the object for a call; the caller defers h.lock.RUnlock(), which keeps h alive too.
func (h *handle) hold() (unsafe.Pointer, error) {
	if h == nil {
		return nil, ErrClosed
	}
	h.lock.RLock()
	if h.pointer == nil {
		h.lock.RUnlock()
		return nil, ErrClosed
	}
	return h.pointer, nil
}

func (h *handle) close() {
	if h == nil {
		return
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.pointer != nil {
		h.release(h.pointer)
		h.pointer = nil
		runtime.SetFinalizer(h, nil)
	}
}
