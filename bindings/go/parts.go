package dstack

/*
#include <dstack/envelope.h>
#include <dstack/keys.h>
#include <dstack/manifest.h>
#include <dstack/measure.h>
#include <stdlib.h>
*/
import "C"

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"sort"
	"time"
	"unsafe"
)

// EnvVar is one environment variable.
type EnvVar struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// EncryptEnvVars encrypts variables to a 32-byte X25519 public key, as the guest opens them.
func EncryptEnvVars(envs []EnvVar, publicKey []byte) ([]byte, error) {
	if envs == nil {
		envs = []EnvVar{}
	}
	text, bad := json.Marshal(map[string]any{"env": envs})
	if bad != nil {
		return nil, bad
	}
	var m memory
	defer m.free()
	var blob C.dstack_buf
	var err C.dstack_error
	status := C.dstack_env_encrypt_raw(m.bytes(text), m.bytes(publicKey), &blob, &err)
	out := take(&blob)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	return out, nil
}

// DecryptEnvVars opens an encrypted environment and keeps the allowed variables, sorted by key.
func DecryptEnvVars(blob, key []byte, allowed []string) ([]EnvVar, error) {
	if bad := whole(allowed...); bad != nil {
		return nil, bad
	}
	s, bad := secret(key)
	if bad != nil {
		return nil, bad
	}
	defer C.dstack_secret_free(s)
	var m memory
	defer m.free()
	size := C.size_t(unsafe.Sizeof(uintptr(0)))
	names := (**C.char)(C.calloc(C.size_t(len(allowed)+1), size))
	m = append(m, unsafe.Pointer(names))
	for i, name := range allowed {
		copied := C.CString(name)
		m = append(m, unsafe.Pointer(copied))
		*(**C.char)(unsafe.Add(unsafe.Pointer(names), i*int(size))) = copied
	}
	var env *C.dstack_env
	var err C.dstack_error
	status := C.dstack_env_decrypt(m.bytes(blob), s, names, C.size_t(len(allowed)), &env, nil, &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	defer C.dstack_env_free(env)
	out := make([]EnvVar, 0, int(C.dstack_env_count(env)))
	for i := C.size_t(0); i < C.dstack_env_count(env); i++ {
		out = append(out, EnvVar{C.GoString(C.dstack_env_key(env, i)), C.GoString(C.dstack_env_value(env, i))})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out, nil
}

// VerifyEnvEncryptPublicKey gives the signer (33 bytes) of a KMS's answer, which the caller compares
// with the key it trusts. Answers older than five minutes, or more than one ahead, are refused.
func VerifyEnvEncryptPublicKey(publicKey, signature, appID []byte, timestamp uint64, now time.Time) ([]byte, error) {
	var m memory
	defer m.free()
	var signer [33]byte
	var err C.dstack_error
	status := C.dstack_env_key_signer(m.bytes(publicKey), m.bytes(signature), m.bytes(appID),
		C.uint64_t(timestamp), C.int64_t(now.Unix()), (*C.uint8_t)(unsafe.Pointer(&signer[0])), &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	return signer[:], nil
}

// ComposeHash gives the SHA-256 of a manifest file's bytes: the hash that is measured.
func ComposeHash(file []byte) [32]byte {
	var m memory
	defer m.free()
	var out [32]byte
	C.dstack_compose_hash(m.bytes(file), (*C.uint8_t)(unsafe.Pointer(&out[0])))
	return out
}

// GetComposeHash predicts, in hex, the hash of a manifest that will be written in canonical form.
// The manifest is anything that encodes to a JSON object.
func GetComposeHash(manifest any, normalize bool) (string, error) {
	text, bad := json.Marshal(manifest)
	if bad != nil {
		return "", bad
	}
	var m memory
	defer m.free()
	var out [32]byte
	var err C.dstack_error
	status := C.dstack_compose_hash_canonical(m.bytes(text), C.bool(normalize),
		(*C.uint8_t)(unsafe.Pointer(&out[0])), &err)
	return hex.EncodeToString(out[:]), failure(status, &err)
}

// ImageDigest gives an image's identity: SHA-256 of its sha256sum.txt, hex.
func ImageDigest(folder string) (string, error) {
	if bad := whole(folder); bad != nil {
		return "", bad
	}
	var m memory
	defer m.free()
	var out [65]byte
	var err C.dstack_error
	status := C.dstack_measure_digest(m.text(folder), (*C.char)(unsafe.Pointer(&out[0])), &err)
	return string(out[:64]), failure(status, &err)
}

var algorithms = map[string]C.dstack_key_algorithm{
	"secp256k1": C.DSTACK_KEY_SECP256K1,
	"ed25519":   C.DSTACK_KEY_ED25519,
}

// VerifyChain verifies the signatures that vouch for a version 1 key, up to kmsRoot (33 bytes, from a
// source that is not under test), and gives the app's key.
func VerifyChain(publicKey []byte, chain [][]byte, domain, algorithm string, appID, kmsRoot []byte) ([]byte, error) {
	kind, known := algorithms[algorithm]
	if !known || len(chain) != 2 {
		return nil, errors.New("dstack: a chain has two signatures, over secp256k1 or ed25519 keys")
	}
	var m memory
	defer m.free()
	var app [33]byte
	var err C.dstack_error
	status := C.dstack_key_chain_verify_v1(m.bytes(publicKey), m.bytes([]byte(domain)), kind,
		m.bytes(chain[0]), m.bytes(chain[1]), m.bytes(appID), m.bytes(kmsRoot),
		(*C.uint8_t)(unsafe.Pointer(&app[0])), &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	return app[:], nil
}
