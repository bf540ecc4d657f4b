package dstack

/*
#include <dstack/tee.h>
#include <stdlib.h>
*/
import "C"

import (
	"sync"
	"time"
	"unsafe"
)

// Tee is the trusted execution environment that this process runs in. Calls run one after another.
type Tee struct {
	h    *handle
	turn sync.Mutex
}

// Registers are MRTD and RTMR0 to RTMR3, 48 bytes each.
type Registers struct {
	MRTD [48]byte
	RTMR [4][48]byte
}

// OpenTee opens a provider: "auto", "tdx", "sim:unix:PATH" or "sim:port:PATH". A simulated one opens
// only under the root certificate (DER) that simRoot pins. A timeout of 0 means 30 seconds.
func OpenTee(url string, simRoot []byte, timeout time.Duration) (*Tee, error) {
	if bad := whole(url); bad != nil {
		return nil, bad
	}
	name := C.CString(url)
	defer C.free(unsafe.Pointer(name))
	var m memory
	defer m.free()
	var made *C.dstack_tee
	var err C.dstack_error
	options := C.dstack_tee_options{sim_root: m.bytes(simRoot), timeout_ms: C.int64_t(timeout.Milliseconds())}
	if failed := failure(C.dstack_tee_open(name, &options, &made, &err), &err); failed != nil {
		return nil, failed
	}
	return &Tee{h: newHandle(unsafe.Pointer(made), func(p unsafe.Pointer) {
		C.dstack_tee_close((*C.dstack_tee)(p))
	})}, nil
}

// Close closes the provider, when no call is under way.
func (t *Tee) Close() { t.h.close() }

// with runs one call on the open provider.
func (t *Tee) with(call func(*C.dstack_tee, *C.dstack_error) C.int) error {
	t.turn.Lock()
	defer t.turn.Unlock()
	pointer, bad := t.h.hold()
	if bad != nil {
		return bad
	}
	defer t.h.lock.RUnlock()
	var err C.dstack_error
	return failure(call((*C.dstack_tee)(pointer), &err), &err)
}

// Simulated tells whether what is made here proves nothing about hardware.
func (t *Tee) Simulated() (bool, error) {
	var simulated bool
	err := t.with(func(tee *C.dstack_tee, _ *C.dstack_error) C.int {
		simulated = bool(C.dstack_tee_is_simulated(tee))
		return 0
	})
	return simulated, err
}

// Registers reads the registers as they stand now.
func (t *Tee) Registers() (Registers, error) {
	var out Registers
	err := t.with(func(tee *C.dstack_tee, err *C.dstack_error) C.int {
		var info C.dstack_tee_info
		status := C.dstack_tee_info_get(tee, &info, err)
		out.MRTD = *(*[48]byte)(unsafe.Pointer(&info.mrtd))
		out.RTMR = *(*[4][48]byte)(unsafe.Pointer(&info.rtmr))
		return status
	})
	return out, err
}

// Quote makes a quote over 64 bytes.
func (t *Tee) Quote(reportData [64]byte) ([]byte, error) {
	var quote C.dstack_buf
	err := t.with(func(tee *C.dstack_tee, err *C.dstack_error) C.int {
		return C.dstack_tee_quote(tee, (*C.uint8_t)(unsafe.Pointer(&reportData[0])), &quote, err)
	})
	out := take(&quote)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Extend extends RTMR 2 or 3 with a SHA-384 digest; the name is for the provider's own log.
func (t *Tee) Extend(index uint32, digest [48]byte, name string) error {
	if bad := whole(name); bad != nil {
		return bad
	}
	var m memory
	defer m.free()
	text := m.text(name)
	return t.with(func(tee *C.dstack_tee, err *C.dstack_error) C.int {
		return C.dstack_tee_extend(tee, C.uint32_t(index), (*C.uint8_t)(unsafe.Pointer(&digest[0])), text, err)
	})
}
