// bench-go-tdx-guest QUOTE COLLATERAL.json NOW SECONDS
//
// Verifies the quote over and over for SECONDS of CPU time and prints microseconds of CPU per
// verification. The library fetches collateral in every verification: here it gets the bundle's
// parts from memory, as answers of Intel's service.
package main

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/verify"
)

type bundle struct {
	PckCrlIssuerChain     string `json:"pck_crl_issuer_chain"`
	RootCaCrl             string `json:"root_ca_crl"`
	PckCrl                string `json:"pck_crl"`
	TcbInfoIssuerChain    string `json:"tcb_info_issuer_chain"`
	TcbInfo               string `json:"tcb_info"`
	TcbInfoSignature      string `json:"tcb_info_signature"`
	QeIdentityIssuerChain string `json:"qe_identity_issuer_chain"`
	QeIdentity            string `json:"qe_identity"`
	QeIdentitySignature   string `json:"qe_identity_signature"`
}

type answer struct {
	header map[string][]string
	body   []byte
}

// memory answers requests by the part of the address that tells them apart.
type memory map[string]answer

func (m memory) Get(address string) (map[string][]string, []byte, error) {
	for part, a := range m {
		if strings.Contains(address, part) {
			return a.header, a.body, nil
		}
	}
	return nil, nil, errors.New("nothing is known of " + address)
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-go-tdx-guest:", err)
		os.Exit(1)
	}
	return value
}

func chain(name, pem string) map[string][]string {
	return map[string][]string{name: {url.QueryEscape(pem)}}
}

func signed(member, text, signature string) []byte {
	return []byte(`{"` + member + `":` + text + `,"signature":"` + signature + `"}`)
}

func answers(b *bundle) memory {
	return memory{
		"/pckcrl": {chain("Sgx-Pck-Crl-Issuer-Chain", b.PckCrlIssuerChain),
			must(hex.DecodeString(b.PckCrl))},
		"/tcb?": {chain("Tcb-Info-Issuer-Chain", b.TcbInfoIssuerChain),
			signed("tcbInfo", b.TcbInfo, b.TcbInfoSignature)},
		"/qe/identity": {chain("Sgx-Enclave-Identity-Issuer-Chain", b.QeIdentityIssuerChain),
			signed("enclaveIdentity", b.QeIdentity, b.QeIdentitySignature)},
		"RootCA": {nil, must(hex.DecodeString(b.RootCaCrl))},
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func main() {
	quote := must(os.ReadFile(os.Args[1]))
	var b bundle
	if err := json.Unmarshal(must(os.ReadFile(os.Args[2])), &b); err != nil {
		must(0, err)
	}
	now := time.Unix(must(strconv.ParseInt(os.Args[3], 10, 64)), 0)
	limit := must(strconv.ParseFloat(os.Args[4], 64))
	getter := answers(&b)
	// The library's own root, given so that it does not print a line about it every time.
	_, root, _ := strings.Cut(b.TcbInfoIssuerChain, "-----END CERTIFICATE-----")
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(root)) {
		must(0, errors.New("the issuer chain does not end with a root"))
	}
	once := func() {
		parsed := must(abi.QuoteToProto(quote))
		options := &verify.Options{
			CheckRevocations: true, GetCollateral: true, Getter: getter, Now: now,
			TrustedRoots: roots,
		}
		if err := verify.TdxQuote(parsed, options); err != nil {
			must(0, err)
		}
	}
	once()
	start := cpuSeconds()
	count := 0
	for cpuSeconds()-start < limit {
		for i := 0; i < 20; i++ {
			once()
		}
		count += 20
	}
	fmt.Printf("%.3f\n", (cpuSeconds()-start)/float64(count)*1e6)
}
