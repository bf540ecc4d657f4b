package dstack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Largest answer that is read.
const maxAnswer = 32 << 20

// AgentError is an answer of the agent that is not a success.
type AgentError struct {
	HTTPStatus int
	Message    string
}

func (e *AgentError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.HTTPStatus, e.Message) }

type transport struct {
	base, prefix string
	client       *http.Client
}

// Option changes how a client reaches the agent.
type Option func(*settings)

type settings struct {
	endpoint string
	timeout  time.Duration
}

// WithEndpoint names a socket's path or an http(s) URL. Without it DSTACK_SIMULATOR_ENDPOINT is taken,
// then the first usual socket that exists.
func WithEndpoint(endpoint string) Option { return func(s *settings) { s.endpoint = endpoint } }

// WithTimeout bounds each call, besides its context. Zero: no bound.
func WithTimeout(timeout time.Duration) Option { return func(s *settings) { s.timeout = timeout } }

func findEndpoint(given, variable, name string) string {
	if given != "" {
		return given
	}
	if found, set := os.LookupEnv(variable); set {
		return found
	}
	paths := []string{"/var/run/" + name, "/run/" + name, "/var/run/dstack/" + name, "/run/dstack/" + name}
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return paths[0]
}

func newTransport(prefix, variable, name string, options []Option) *transport {
	var s settings
	for _, option := range options {
		option(&s)
	}
	endpoint := findEndpoint(s.endpoint, variable, name)
	if strings.HasPrefix(endpoint, "http://") || strings.HasPrefix(endpoint, "https://") {
		return &transport{strings.TrimRight(endpoint, "/"), prefix, &http.Client{Timeout: s.timeout}}
	}
	path := strings.TrimPrefix(endpoint, "unix:")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	pool := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second}
	return &transport{"http://localhost", prefix, &http.Client{Timeout: s.timeout, Transport: pool}}
}

func (t *transport) call(ctx context.Context, method string, asked, answer any) error {
	body, bad := json.Marshal(asked)
	if bad != nil {
		return bad
	}
	request, bad := http.NewRequestWithContext(ctx, http.MethodPost, t.base+t.prefix+method, bytes.NewReader(body))
	if bad != nil {
		return bad
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "dstack-go/1")
	response, bad := t.client.Do(request)
	if bad != nil {
		return bad
	}
	defer response.Body.Close()
	content, bad := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if bad != nil {
		return bad
	}
	if len(content) > maxAnswer {
		return &AgentError{response.StatusCode, "the agent's answer is too large"}
	}
	if response.StatusCode/100 != 2 {
		var told struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(content, &told) != nil || told.Error == "" {
			told.Error = string(content)
		}
		if len(told.Error) > 512 {
			told.Error = told.Error[:512]
		}
		return &AgentError{response.StatusCode, told.Error}
	}
	return json.Unmarshal(content, answer)
}

func (t *transport) close() { t.client.CloseIdleConnections() }

// Hex is bytes that travel as hex text.
type Hex []byte

// MarshalText gives the hex.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText reads hex.
func (h *Hex) UnmarshalText(text []byte) error {
	data, bad := hex.DecodeString(string(text))
	*h = data
	return bad
}

func bytesOf(list []Hex) [][]byte {
	out := make([][]byte, len(list))
	for i, one := range list {
		out[i] = one
	}
	return out
}

func pairLeaf(pair *tls.Certificate) (*x509.Certificate, error) {
	return x509.ParseCertificate(pair.Certificate[0])
}

// ---- version 1 ---------------------------------------------------------------------------------

// DstackClientV1 is a client of version 1 of the agent's API: keys are bound to domain and algorithm.
type DstackClientV1 struct{ t *transport }

// DstackClient is the newest version.
type DstackClient = DstackClientV1

// NewDstackClient makes a client of the newest version.
func NewDstackClient(options ...Option) *DstackClient { return NewDstackClientV1(options...) }

// NewDstackClientV1 makes a client; no connection is made yet.
func NewDstackClientV1(options ...Option) *DstackClientV1 {
	return &DstackClientV1{newTransport("/v1/", "DSTACK_SIMULATOR_ENDPOINT", "dstack.sock", options)}
}

// Close closes idle connections; the client stays usable.
func (c *DstackClientV1) Close() { c.t.close() }

// DerivedKey is a key and the signatures that vouch for it.
type DerivedKey struct {
	Key            []byte
	PublicKey      []byte
	SignatureChain [][]byte
}

// GetKey derives the key of a domain; algorithm is "secp256k1" or "ed25519".
func (c *DstackClientV1) GetKey(ctx context.Context, domain, algorithm string) (*DerivedKey, error) {
	if algorithm == "" {
		return nil, errors.New("dstack: algorithm is required: secp256k1 or ed25519")
	}
	var answer struct {
		Key            Hex   `json:"key"`
		PublicKey      Hex   `json:"public_key"`
		SignatureChain []Hex `json:"signature_chain"`
	}
	asked := map[string]string{"domain": domain, "algorithm": algorithm}
	if bad := c.t.call(ctx, "GetKey", asked, &answer); bad != nil {
		return nil, bad
	}
	if len(answer.Key) != 32 {
		return nil, errors.New("dstack: the agent's answer has no key")
	}
	return &DerivedKey{answer.Key, answer.PublicKey, bytesOf(answer.SignatureChain)}, nil
}

// IssueCertOptions is what a certificate is asked for.
type IssueCertOptions struct {
	Subject         string
	AltNames        []string
	UsageRaTLS      bool
	NoServerAuth    bool // server authentication is asked for unless this is set
	UsageClientAuth bool
	WithAppInfo     bool
	NotBefore       time.Time // zero: the agent's default
	NotAfter        time.Time
}

// IssuedCert is a fresh private key and its certificate chain, PEM, leaf first.
type IssuedCert struct {
	Key              string   `json:"key"`
	CertificateChain []string `json:"certificate_chain"`
}

// IssueCert makes a fresh key and has a certificate issued for it.
func (c *DstackClientV1) IssueCert(ctx context.Context, o IssueCertOptions) (*IssuedCert, error) {
	asked := map[string]any{
		"subject": o.Subject, "usage_ra_tls": o.UsageRaTLS, "usage_server_auth": !o.NoServerAuth,
		"usage_client_auth": o.UsageClientAuth, "with_app_info": o.WithAppInfo,
	}
	if len(o.AltNames) > 0 {
		asked["alt_names"] = o.AltNames
	}
	if !o.NotBefore.IsZero() {
		asked["not_before"] = o.NotBefore.Unix()
	}
	if !o.NotAfter.IsZero() {
		asked["not_after"] = o.NotAfter.Unix()
	}
	answer := new(IssuedCert)
	if bad := c.t.call(ctx, "IssueCert", asked, answer); bad != nil {
		return nil, bad
	}
	if answer.Key == "" || len(answer.CertificateChain) == 0 {
		return nil, errors.New("dstack: the agent's answer has no certificate")
	}
	return answer, nil
}

// Attest takes an attestation over 1 to 64 bytes.
func (c *DstackClientV1) Attest(ctx context.Context, reportData []byte) ([]byte, error) {
	if len(reportData) < 1 || len(reportData) > 64 {
		return nil, errors.New("dstack: report data must have 1 to 64 bytes")
	}
	var answer struct {
		Attestation Hex `json:"attestation"`
	}
	bad := c.t.call(ctx, "Attest", map[string]Hex{"report_data": reportData}, &answer)
	return answer.Attestation, bad
}

// GuestInfo is who the agent says this guest is: nothing in it is evidence.
type GuestInfo struct {
	AppID           Hex    `json:"app_id"`
	AppName         string `json:"app_name"`
	ComposeHash     Hex    `json:"compose_hash"`
	AppCompose      string `json:"app_compose"`
	InstanceID      Hex    `json:"instance_id"`
	DeviceID        Hex    `json:"device_id"`
	OsImageHash     Hex    `json:"os_image_hash"`
	MrAggregated    Hex    `json:"mr_aggregated"`
	VMConfig        string `json:"vm_config"`
	KeyProviderInfo string `json:"key_provider_info"`
	CloudVendor     string `json:"cloud_vendor"`
	CloudProduct    string `json:"cloud_product"`
}

// Info asks who this guest is.
func (c *DstackClientV1) Info(ctx context.Context) (*GuestInfo, error) {
	answer := new(GuestInfo)
	return answer, c.t.call(ctx, "Info", struct{}{}, answer)
}

// VersionResponse is the agent's version and revision.
type VersionResponse struct {
	Version string `json:"version"`
	Rev     string `json:"rev"`
}

// Version asks for the agent's version.
func (c *DstackClientV1) Version(ctx context.Context) (*VersionResponse, error) {
	answer := new(VersionResponse)
	return answer, c.t.call(ctx, "Version", struct{}{}, answer)
}
