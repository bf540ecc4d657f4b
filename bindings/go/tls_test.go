package dstack

import (
	"crypto/tls"
	"io"
	"log"
	"testing"
)

func loadPair(t *testing.T) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(file(t, "ratls.pem"), file(t, "ratls.key"))
	must(t, err)
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
}

func clientPair(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return get(nil) }
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
