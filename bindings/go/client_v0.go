package dstack

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// DstackClientV0 is a client of version 0 of the agent's API, which is frozen.
type DstackClientV0 struct{ t *transport }

// NewDstackClientV0 makes a client; no connection is made yet.
func NewDstackClientV0(options ...Option) *DstackClientV0 {
	return &DstackClientV0{newTransport("/", "DSTACK_SIMULATOR_ENDPOINT", "dstack.sock", options)}
}

// Close closes idle connections; the client stays usable.
func (c *DstackClientV0) Close() { c.t.close() }

// GetKeyResponse holds hex texts.
type GetKeyResponse struct {
	Key            string   `json:"key"`
	SignatureChain []string `json:"signature_chain"`
}

// DecodeKey gives the key's bytes.
func (r *GetKeyResponse) DecodeKey() ([]byte, error) { return hex.DecodeString(r.Key) }

// DecodeSignatureChain gives the signatures: the app key's, then the KMS's.
func (r *GetKeyResponse) DecodeSignatureChain() ([][]byte, error) {
	out := make([][]byte, len(r.SignatureChain))
	for i, text := range r.SignatureChain {
		one, bad := hex.DecodeString(text)
		if bad != nil {
			return nil, bad
		}
		out[i] = one
	}
	return out, nil
}

// GetKey derives the key of a path. Both algorithms give the same bytes at one path.
func (c *DstackClientV0) GetKey(ctx context.Context, path, purpose, algorithm string) (*GetKeyResponse, error) {
	switch algorithm {
	case "", "secp256k1", "k256":
	default:
		if _, bad := c.GetVersion(ctx); bad != nil {
			return nil, fmt.Errorf("algorithm %q is not supported: OS version too old: %w", algorithm, bad)
		}
	}
	answer := new(GetKeyResponse)
	asked := map[string]string{"path": path, "purpose": purpose, "algorithm": algorithm}
	return answer, c.t.call(ctx, "GetKey", asked, answer)
}

// TlsKeyOption is one wish for a certificate; nothing is asked for without.
type TlsKeyOption func(map[string]any)

// Wishes for a certificate.
func WithSubject(subject string) TlsKeyOption  { return set("subject", subject) }
func WithAltNames(names []string) TlsKeyOption { return set("alt_names", names) }
func WithUsageRaTls(on bool) TlsKeyOption      { return set("usage_ra_tls", on) }
func WithUsageServerAuth(on bool) TlsKeyOption { return set("usage_server_auth", on) }
func WithUsageClientAuth(on bool) TlsKeyOption { return set("usage_client_auth", on) }
func WithNotBefore(at uint64) TlsKeyOption     { return set("not_before", at) }
func WithNotAfter(at uint64) TlsKeyOption      { return set("not_after", at) }
func WithAppInfo(on bool) TlsKeyOption         { return set("with_app_info", on) }

func set(name string, value any) TlsKeyOption {
	return func(asked map[string]any) { asked[name] = value }
}

// GetTlsKey makes a fresh key and has a certificate issued for it.
func (c *DstackClientV0) GetTlsKey(ctx context.Context, options ...TlsKeyOption) (*IssuedCert, error) {
	asked := map[string]any{}
	for _, option := range options {
		option(asked)
	}
	answer := new(IssuedCert)
	return answer, c.t.call(ctx, "GetTlsKey", asked, answer)
}

// GetQuoteResponse is a TDX quote (hex) and its event log (JSON text).
type GetQuoteResponse struct {
	Quote      string `json:"quote"`
	EventLog   string `json:"event_log"`
	ReportData string `json:"report_data"`
	VMConfig   string `json:"vm_config"`
}

// DecodeQuote gives the quote's bytes.
func (r *GetQuoteResponse) DecodeQuote() ([]byte, error) { return hex.DecodeString(r.Quote) }

// GetQuote takes a TDX quote over at most 64 bytes.
func (c *DstackClientV0) GetQuote(ctx context.Context, reportData []byte) (*GetQuoteResponse, error) {
	if len(reportData) > 64 {
		return nil, errors.New("dstack: report data must have at most 64 bytes")
	}
	answer := new(GetQuoteResponse)
	return answer, c.t.call(ctx, "GetQuote", map[string]Hex{"report_data": reportData}, answer)
}

// Attest takes an attestation over at most 64 bytes.
func (c *DstackClientV0) Attest(ctx context.Context, reportData []byte) ([]byte, error) {
	if len(reportData) > 64 {
		return nil, errors.New("dstack: report data must have at most 64 bytes")
	}
	var answer struct {
		Attestation Hex `json:"attestation"`
	}
	bad := c.t.call(ctx, "Attest", map[string]Hex{"report_data": reportData}, &answer)
	return answer.Attestation, bad
}

// InfoResponse is who the agent says this guest is; TcbInfo is JSON text.
type InfoResponse struct {
	AppID           string `json:"app_id"`
	InstanceID      string `json:"instance_id"`
	AppCert         string `json:"app_cert"`
	TcbInfo         string `json:"tcb_info"`
	AppName         string `json:"app_name"`
	DeviceID        string `json:"device_id"`
	MrAggregated    string `json:"mr_aggregated"`
	OsImageHash     string `json:"os_image_hash"`
	KeyProviderInfo string `json:"key_provider_info"`
	ComposeHash     string `json:"compose_hash"`
	VMConfig        string `json:"vm_config"`
}

// DecodeTcbInfo reads TcbInfo.
func (r *InfoResponse) DecodeTcbInfo() (map[string]any, error) {
	var out map[string]any
	return out, json.Unmarshal([]byte(r.TcbInfo), &out)
}

// Info asks who this guest is.
func (c *DstackClientV0) Info(ctx context.Context) (*InfoResponse, error) {
	answer := new(InfoResponse)
	return answer, c.t.call(ctx, "Info", struct{}{}, answer)
}

// SignResponse is a signature and what vouches for its key.
type SignResponse struct {
	Signature      Hex   `json:"signature"`
	SignatureChain []Hex `json:"signature_chain"`
	PublicKey      Hex   `json:"public_key"`
}

// Sign signs with a key of the agent's choice for the algorithm.
func (c *DstackClientV0) Sign(ctx context.Context, algorithm string, data []byte) (*SignResponse, error) {
	if algorithm == "secp256k1_prehashed" && len(data) != 32 {
		return nil, fmt.Errorf("dstack: %s signs a 32-byte digest, not %d bytes", algorithm, len(data))
	}
	answer := new(SignResponse)
	return answer, c.t.call(ctx, "Sign", map[string]any{"algorithm": algorithm, "data": Hex(data)}, answer)
}

// Verify asks the agent whether a signature holds.
func (c *DstackClientV0) Verify(ctx context.Context, algorithm string, data, signature, publicKey []byte) (bool, error) {
	var answer struct {
		Valid bool `json:"valid"`
	}
	asked := map[string]any{"algorithm": algorithm, "data": Hex(data), "signature": Hex(signature), "public_key": Hex(publicKey)}
	bad := c.t.call(ctx, "Verify", asked, &answer)
	return answer.Valid, bad
}

// GetVersion asks for the agent's version.
func (c *DstackClientV0) GetVersion(ctx context.Context) (*VersionResponse, error) {
	answer := new(VersionResponse)
	return answer, c.t.call(ctx, "Version", struct{}{}, answer)
}

// IsReachable tells whether the agent answers within half a second.
func (c *DstackClientV0) IsReachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, bad := c.Info(ctx)
	return bad == nil
}
