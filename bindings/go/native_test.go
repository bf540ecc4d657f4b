package dstack

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	value, err := hex.DecodeString(text)
	must(t, err)
	return value
}

func TestAnswersOfSignAreVerifiedWhole(t *testing.T) {
	client := NewDstackClientV0()
	app, root := kms(t, "app_id"), kms(t, "kms_root")
	for _, algorithm := range []string{"secp256k1", "ed25519"} {
		made, err := client.Sign(context.Background(), algorithm, []byte("data"))
		must(t, err)
		chain := make([][]byte, len(made.SignatureChain))
		for i, link := range made.SignatureChain {
			chain[i] = link
		}
		verify := func(algorithm, data string, links [][]byte) error {
			_, err := VerifySignChain(made.PublicKey, algorithm, []byte(data), links, app, root)
			return err
		}
		must(t, verify(algorithm, "data", chain))
		if err := verify(algorithm, "date", chain); !errors.Is(err, ErrRefused) {
			t.Fatalf("other data: %v", err)
		}
		if err := verify("rsa", "data", chain); !errors.Is(err, ErrArgument) {
			t.Fatalf("unknown algorithm: %v", err)
		}
		if verify(algorithm, "data", chain[1:]) == nil {
			t.Fatal("a short chain was taken")
		}
		_, err = VerifyChainV0(made.PublicKey, chain[1:], "signing", app, root)
		must(t, err)
		if _, err = VerifyChainV0(made.PublicKey, chain[1:], "signed", app, root); !errors.Is(err, ErrRefused) {
			t.Fatalf("other purpose: %v", err)
		}
	}
}

// A KMS's answer whose signer has the secret scalar 01 repeated (data of the reference SDKs).
func TestAnEnvironmentKeyIsFreshAndOfTheTrustedKMS(t *testing.T) {
	app, key := bytes.Repeat([]byte{0xab}, 20), bytes.Repeat([]byte{0xde}, 32)
	signature := unhex(t, "c9e643b59985ab43c0ae4ec75e302d9d7a70abe0212f9928d5fc56563aa56b5415271d9ea4dd8d02125359dae4267d704c374ba72a829bece6e16b5e3cdfc9f600")
	signer := unhex(t, "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f")
	const stamp = 1700000000
	at := func(seconds int64) time.Time { return time.Unix(stamp+seconds, 0) }
	must(t, CheckEnvKey(key, signature, app, stamp, signer, at(300)))
	for name, err := range map[string]error{
		"kept":         CheckEnvKey(key, signature, app, stamp, signer, at(301)),
		"ahead":        CheckEnvKey(key, signature, app, stamp, signer, at(-61)),
		"other stamp":  CheckEnvKey(key, signature, app, stamp+1, signer, at(0)),
		"other key":    CheckEnvKey(signature[:32], signature, app, stamp, signer, at(0)),
		"other app":    CheckEnvKey(key, signature, key[:20], stamp, signer, at(0)),
		"other signer": CheckEnvKey(key, signature, app, stamp, key, at(0)),
	} {
		if err == nil {
			t.Fatal(name)
		}
	}
	envs := []EnvVar{{"A", "1"}}
	if blob, err := EncryptEnvFor(envs, key, signature, app, stamp, signer, at(0)); err != nil || len(blob) < 60 {
		t.Fatal(err)
	}
	if _, err := EncryptEnvFor(envs, key, signature, app, stamp, signer, time.Now()); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
}

// A simulated TEE of dstack-vmm, as a process beside this one.
func startTee(t *testing.T) (string, []byte) {
	t.Helper()
	program, dir := filepath.Join("..", "..", "build", "bin", "dstack-vmm"), t.TempDir()
	keys, socket := filepath.Join(dir, "keys"), filepath.Join(dir, "tee.sock")
	must(t, exec.Command(program, "simulate-tee", "--init", keys).Run())
	server := exec.Command(program, "simulate-tee", "--keys", keys, "--socket", socket,
		"--image", filepath.Join(os.Getenv("DSTACK_TEST_DATA"), "image"))
	must(t, server.Start())
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the simulated TEE does not listen")
		}
	}
	root, err := os.ReadFile(filepath.Join(keys, "root.der"))
	must(t, err)
	return "sim:unix:" + socket, root
}

func TestATeeGivesRegistersAndQuotesOverThem(t *testing.T) {
	url, root := startTee(t)
	if _, err := OpenTee(url, nil, 0); err == nil {
		t.Fatal("a simulated TEE opened without its root")
	}
	tee, err := OpenTee(url, root, time.Minute)
	must(t, err)
	before, err := tee.Registers()
	must(t, err)
	digest := sha512.Sum384([]byte("event"))
	must(t, tee.Extend(3, digest, "event"))
	after, err := tee.Registers()
	must(t, err)
	if after.RTMR[3] != sha512.Sum384(append(before.RTMR[3][:], digest[:]...)) || after.MRTD != before.MRTD {
		t.Fatal("registers")
	}
	quote, err := tee.Quote([64]byte{1, 2, 3})
	must(t, err)
	if !bytes.Contains(quote, after.RTMR[3][:]) || !bytes.Contains(quote, []byte{1, 2, 3, 0, 0}) {
		t.Fatal("quote")
	}
	if tee.Extend(0, digest, "") == nil {
		t.Fatal("RTMR0 was extended")
	}
	if simulated, err := tee.Simulated(); err != nil || !simulated {
		t.Fatal("not simulated", err)
	}
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if _, err := tee.Registers(); err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}()
	}
	tee.Close()
	tee.Close()
	all.Wait()
	if _, err := tee.Quote([64]byte{}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
