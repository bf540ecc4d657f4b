package dstack

/*
#include <dstack/envelope.h>
#include <dstack/keys.h>
#include <stdlib.h>
*/
import "C"

import (
	"bytes"
	"errors"
	"time"
	"unsafe"
)

// VerifyChainV0 verifies the signatures that vouch for a version 0 key, up to kmsRoot (33 bytes, from
// a source that is not under test), and gives the app's key.
func VerifyChainV0(publicKey []byte, chain [][]byte, purpose string, appID, kmsRoot []byte) ([]byte, error) {
	if len(chain) != 2 {
		return nil, errors.New("dstack: a chain has two signatures")
	}
	var m memory
	defer m.free()
	var app [33]byte
	var err C.dstack_error
	status := C.dstack_key_chain_verify(m.bytes(publicKey), m.bytes([]byte(purpose)), m.bytes(chain[0]),
		m.bytes(chain[1]), m.bytes(appID), m.bytes(kmsRoot), (*C.uint8_t)(unsafe.Pointer(&app[0])), &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	return app[:], nil
}

// VerifySignChain verifies an answer of Sign whole: the signature over data, and the chain up to
// kmsRoot. The algorithm is secp256k1, secp256k1_prehashed or ed25519. It gives the app's key.
func VerifySignChain(publicKey []byte, algorithm string, data []byte, chain [][]byte, appID, kmsRoot []byte) ([]byte, error) {
	if len(chain) != 3 {
		return nil, errors.New("dstack: a chain of Sign has three signatures")
	}
	if bad := whole(algorithm); bad != nil {
		return nil, bad
	}
	name := C.CString(algorithm)
	defer C.free(unsafe.Pointer(name))
	var m memory
	defer m.free()
	var kind C.dstack_sign_algorithm
	var app [33]byte
	var err C.dstack_error
	if failed := failure(C.dstack_sign_algorithm_parse(name, &kind, &err), &err); failed != nil {
		return nil, failed
	}
	links := [3]C.dstack_bytes{m.bytes(chain[0]), m.bytes(chain[1]), m.bytes(chain[2])}
	status := C.dstack_sign_chain_verify(m.bytes(publicKey), kind, m.bytes(data), &links[0], m.bytes(appID),
		m.bytes(kmsRoot), (*C.uint8_t)(unsafe.Pointer(&app[0])), &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	return app[:], nil
}

// CheckEnvKey refuses the key of a KMS's answer unless trustedSigner (33 bytes, from a source that is
// not that KMS) signed it for this app not longer than five minutes before now: an older answer may be
// one that somebody kept.
func CheckEnvKey(publicKey, signature, appID []byte, timestamp uint64, trustedSigner []byte, now time.Time) error {
	signer, err := VerifyEnvEncryptPublicKey(publicKey, signature, appID, timestamp, now)
	if err == nil && !bytes.Equal(signer, trustedSigner) {
		err = refused("the environment's key is not of the trusted KMS")
	}
	return err
}

// EncryptEnvFor encrypts variables to the key of a KMS's answer, after CheckEnvKey.
func EncryptEnvFor(envs []EnvVar, publicKey, signature, appID []byte, timestamp uint64, trustedSigner []byte, now time.Time) ([]byte, error) {
	if err := CheckEnvKey(publicKey, signature, appID, timestamp, trustedSigner, now); err != nil {
		return nil, err
	}
	return EncryptEnvVars(envs, publicKey)
}
