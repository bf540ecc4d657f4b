package dstack

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"time"
)

// ClientTLS gives a configuration for connecting to attested servers. The server's certificate is
// judged by its evidence at the end of each handshake, resumed ones too, before a byte of a request is
// sent. expect should name the app: without it any app with good evidence is accepted. Its name is
// checked when checkHost is set; the certificate's issuer proves nothing here and is not looked at.
//
// seen, when not nil, is called with what was found about an accepted server.
func ClientTLS(verifier *Verifier, expect Expect, checkHost bool, seen func(*Verified)) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // #nosec G402: judged by VerifyConnection
		VerifyConnection:   judge(verifier, expect, checkHost, seen),
	}
}

// ServerTLS gives a configuration for a server that shows its evidence, and demands that of clients
// when verifier is not nil. identity gives the server's certificate: Identity.Certificate, or any
// other GetCertificate.
func ServerTLS(identity func(*tls.ClientHelloInfo) (*tls.Certificate, error), verifier *Verifier,
	expect Expect, seen func(*Verified)) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: identity}
	if verifier != nil {
		config.ClientAuth = tls.RequireAnyClientCert
		config.VerifyConnection = judge(verifier, expect, false, seen)
	}
	return config
}

func judge(verifier *Verifier, expect Expect, checkHost bool, seen func(*Verified)) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("dstack: the peer sent no certificate")
		}
		host := ""
		if checkHost {
			if host = state.ServerName; host == "" {
				return errors.New("dstack: no server name to check")
			}
		}
		found, refusal := verifier.VerifyCertificate(state.PeerCertificates[0].Raw, host, expect)
		if refusal == nil && seen != nil {
			seen(found)
		}
		return refusal
	}
}

// Identity is a certificate with evidence that the agent issues, renewed after half of its life.
type Identity struct {
	client  *DstackClientV1
	options IssueCertOptions
	lock    sync.Mutex
	current *tls.Certificate
	renew   time.Time
}

// NewIdentity makes one; nothing is asked of the agent yet. Evidence is always included.
func NewIdentity(client *DstackClientV1, options IssueCertOptions) *Identity {
	options.UsageRaTLS = true
	return &Identity{client: client, options: options}
}

// Certificate is for tls.Config.GetCertificate.
func (i *Identity) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return i.get(hello.Context())
}

// ClientCertificate is for tls.Config.GetClientCertificate.
func (i *Identity) ClientCertificate(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return i.get(info.Context())
}

func (i *Identity) get(ctx context.Context) (*tls.Certificate, error) {
	i.lock.Lock()
	defer i.lock.Unlock()
	if i.current != nil && time.Now().Before(i.renew) {
		return i.current, nil
	}
	made, bad := i.client.IssueCert(ctx, i.options)
	if bad != nil {
		return nil, bad
	}
	pair, bad := tls.X509KeyPair([]byte(strings.Join(made.CertificateChain, "\n")), []byte(made.Key))
	if bad != nil {
		return nil, bad
	}
	leaf, bad := pairLeaf(&pair)
	if bad != nil {
		return nil, bad
	}
	now := time.Now()
	i.current, i.renew = &pair, now.Add(leaf.NotAfter.Sub(now)/2)
	return i.current, nil
}
