package dstack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Data of simulated hardware, made by make_data; an agent serves it at DSTACK_SIMULATOR_ENDPOINT.
func file(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(os.Getenv("DSTACK_TEST_DATA"), name))
	must(t, err)
	return content
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kms(t testing.TB, name string) []byte {
	t.Helper()
	var all map[string]string
	must(t, json.Unmarshal(file(t, "kms.json"), &all))
	value, err := hex.DecodeString(all[name])
	must(t, err)
	return value
}

func newVerifier(t testing.TB) *Verifier {
	t.Helper()
	verifier, err := NewVerifier(VerifierConfig{Root: file(t, "root.der"), RootName: "simulation"})
	must(t, err)
	collateral, err := NewCollateral(file(t, "collateral.json"))
	must(t, err)
	defer collateral.Close()
	must(t, verifier.AddCollateral(collateral))
	return verifier
}

func TestKeysAreVouchedForUpToTheKMS(t *testing.T) {
	client := NewDstackClient()
	defer client.Close()
	for _, algorithm := range []string{"secp256k1", "ed25519"} {
		made, err := client.GetKey(context.Background(), "wallet", algorithm)
		must(t, err)
		verify := func(domain string) error {
			_, err := VerifyChain(made.PublicKey, made.SignatureChain, domain, algorithm, kms(t, "app_id"), kms(t, "kms_root"))
			return err
		}
		must(t, verify("wallet"))
		if err := verify("purse"); !errors.Is(err, ErrRefused) {
			t.Fatalf("another domain: %v", err)
		}
	}
}

func TestVersion0(t *testing.T) {
	ctx, client := context.Background(), NewDstackClientV0()
	if !client.IsReachable(ctx) {
		t.Fatal("not reachable")
	}
	key, err := client.GetKey(ctx, "a/b", "p", "ed25519")
	must(t, err)
	if raw, _ := key.DecodeKey(); len(raw) != 32 {
		t.Fatal("key")
	}
	quote, err := client.GetQuote(ctx, []byte("from go"))
	must(t, err)
	if raw, _ := quote.DecodeQuote(); !bytes.HasPrefix(raw[568:], []byte("from go\x00")) {
		t.Fatal("report data")
	}
	made, err := client.Sign(ctx, "ed25519", []byte("x"))
	must(t, err)
	for data, wanted := range map[string]bool{"x": true, "y": false} {
		valid, err := client.Verify(ctx, "ed25519", []byte(data), made.Signature, made.PublicKey)
		must(t, err)
		if valid != wanted {
			t.Fatal(data)
		}
	}
	info, err := client.Info(ctx)
	must(t, err)
	tcb, err := info.DecodeTcbInfo()
	must(t, err)
	hash := ComposeHash([]byte(tcb["app_compose"].(string)))
	if hex.EncodeToString(hash[:]) != info.ComposeHash {
		t.Fatal("compose hash")
	}
	if _, err := client.GetTlsKey(ctx, WithSubject("x"), WithUsageServerAuth(true)); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsOfTheAgentAndOfContexts(t *testing.T) {
	client := NewDstackClient()
	_, err := client.GetKey(context.Background(), "x", "rsa")
	var told *AgentError
	if !errors.As(err, &told) || told.HTTPStatus != 400 || !strings.Contains(told.Message, "rsa") {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Info(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := NewDstackClient(WithEndpoint("/nonexistent.sock")).Version(context.Background()); err == nil {
		t.Fatal("no socket")
	}
}

func TestTrueEvidenceVerifiesAndWhatDiffersIsRefused(t *testing.T) {
	verifier := newVerifier(t)
	defer verifier.Close()
	attestation := file(t, "attestation.bin")
	bound, err := ReportData("app-data", "", []byte("recorded"))
	must(t, err)
	policy, err := NewPolicy("{}")
	must(t, err)
	defer policy.Close()
	found, err := verifier.Verify(attestation, Expect{ReportData: bound[:], AppID: kms(t, "app_id"), Policy: policy,
		ImageDir: filepath.Join(os.Getenv("DSTACK_TEST_DATA"), "image")})
	must(t, err)
	if found.TcbStatus != "UpToDate" || found.OsImageAnchor != "reference-image" || !bytes.Equal(found.AppID(), kms(t, "app_id")) {
		t.Fatalf("%+v", found)
	}
	for name, expect := range map[string]Expect{
		"report data": {ReportData: make([]byte, 64)},
		"app id":      {AppID: make([]byte, 20)},
		"time":        {Now: time.Unix(1, 0)},
	} {
		if _, err := verifier.Verify(attestation, expect); !errors.Is(err, ErrRefused) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := verifier.Verify(attestation, Expect{VMConfig: "a\x00b"}); !errors.Is(err, ErrArgument) {
		t.Fatal(err)
	}
	for _, garbage := range [][]byte{nil, {0}, {0x83}, bytes.Repeat([]byte("A"), 10000)} {
		if _, err := verifier.Verify(garbage, Expect{}); err == nil {
			t.Fatal("garbage verified")
		}
	}
}

func TestSec13ASimulatedRootMustBePinned(t *testing.T) {
	plain, err := NewVerifier(VerifierConfig{})
	must(t, err)
	collateral, err := NewCollateral(file(t, "collateral.json"))
	must(t, err)
	must(t, plain.AddCollateral(collateral))
	var failed *Error
	if _, err := plain.Verify(file(t, "attestation.bin"), Expect{}); !errors.As(err, &failed) || !strings.HasPrefix(failed.Name, "dcap.") {
		t.Fatal(err)
	}
}

func TestHandlesAreReleasedOnceWhateverTheOrder(t *testing.T) {
	attestation := file(t, "attestation.bin")
	for i := 0; i < 20; i++ {
		verifier := newVerifier(t)
		if i%2 == 0 {
			verifier.Close()
			verifier.Close()
			if _, err := verifier.Verify(attestation, Expect{}); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
		runtime.GC()
	}
	var none *handle
	none.close()
}

func TestGoroutinesShareAVerifierWhileItIsClosed(t *testing.T) {
	attestation, verifier := file(t, "attestation.bin"), newVerifier(t)
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := 0; j < 20; j++ {
				if _, err := verifier.Verify(attestation, Expect{}); err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	verifier.Close()
	group.Wait()
}

func TestGoroutinesShareAClient(t *testing.T) {
	client := NewDstackClient()
	defer client.Close()
	var group sync.WaitGroup
	keys := make([]string, 100)
	for i := range keys {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			made, err := client.GetKey(context.Background(), fmt.Sprint(i%10), "secp256k1")
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = string(made.Key)
		}(i)
	}
	group.Wait()
	distinct := map[string]bool{}
	for _, key := range keys {
		distinct[key] = true
	}
	if len(distinct) != 10 || keys[3] != keys[93] {
		t.Fatal(len(distinct))
	}
}

func TestEnvironmentAndHashes(t *testing.T) {
	blob, err := EncryptEnvVars([]EnvVar{{"B", "zwei"}, {"A", "1"}, {"C", "x"}}, kms(t, "env_public"))
	must(t, err)
	opened, err := DecryptEnvVars(blob, kms(t, "env_secret"), []string{"A", "B"})
	must(t, err)
	if fmt.Sprint(opened) != "[{A 1} {B zwei}]" {
		t.Fatal(opened)
	}
	if _, err := DecryptEnvVars(blob, make([]byte, 32), nil); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	hash, err := GetComposeHash(map[string]any{"runner": "bash", "docker_compose_file": "x"}, true)
	must(t, err)
	if hash != "c7f0417eb52727e5c93afea6ef707d827edbc7865ecfd7886c31bb56755fdfcc" {
		t.Fatal(hash)
	}
	digest, err := ImageDigest(filepath.Join(os.Getenv("DSTACK_TEST_DATA"), "image"))
	must(t, err)
	if !bytes.Contains(file(t, "sys-config.json"), []byte(digest)) {
		t.Fatal(digest)
	}
}

func TestTLSJudgesEvidenceWithinTheHandshake(t *testing.T) {
	verifier := newVerifier(t)
	pair := loadPair(t)
	served := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served++
		io.WriteString(w, "hello")
	}))
	server.Listener = tls.NewListener(server.Listener, ServerTLS(pair, verifier, Expect{AppID: kms(t, "app_id")}, nil))
	server.Config.ErrorLog = quiet()
	server.Start()
	defer server.Close()
	url := strings.Replace(server.URL, "http:", "https:", 1)

	get := func(expect Expect, certificate bool, seen func(*Verified)) error {
		config := ClientTLS(verifier, expect, false, seen)
		if certificate {
			config.GetClientCertificate = clientPair(pair)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		defer client.CloseIdleConnections()
		response, err := client.Get(url)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	var found *Verified
	must(t, get(Expect{AppID: kms(t, "app_id")}, true, func(v *Verified) { found = v }))
	if found == nil || !bytes.Equal(found.AppID(), kms(t, "app_id")) {
		t.Fatal("nothing seen")
	}
	if err := get(Expect{AppID: make([]byte, 20)}, true, nil); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if err := get(Expect{}, false, nil); err == nil {
		t.Fatal("a client without a certificate was served")
	}
	if served != 1 {
		t.Fatal("a refused connection was served")
	}
}

func TestIdentitiesComeFromTheAgentAndAreKept(t *testing.T) {
	identity := NewIdentity(NewDstackClient(), IssueCertOptions{Subject: "app.test", AltNames: []string{"app.test"}})
	one, err := identity.get(context.Background())
	must(t, err)
	two, err := identity.get(context.Background())
	must(t, err)
	if one != two {
		t.Fatal("asked twice")
	}
	leaf, err := pairLeaf(one)
	must(t, err)
	must(t, leaf.VerifyHostname("app.test"))
}
