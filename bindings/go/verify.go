package dstack

/*
#include <dstack/attestation.h>
#include <dstack/cert.h>
#include <dstack/collateral.h>
#include <dstack/measure.h>
#include <dstack/policy.h>
#include <dstack/verifier.h>
#include <stdlib.h>

static int binding_image_check(void *user, const dstack_image_question *question,
                               dstack_anchor *anchor, uint8_t image_hash[32], dstack_error *err) {
    return dstack_measure_image_check(user, question, anchor, image_hash, err);
}
static void binding_options(dstack_attestation_options *options) {
    options->image = binding_image_check;
}
*/
import "C"

import (
	"encoding/hex"
	"encoding/json"
	"time"
	"unsafe"
)

// ReportData gives the 64 bytes that bind tagged content: SHA-512 unless algorithm names another.
func ReportData(tag, algorithm string, content []byte) ([64]byte, error) {
	var m memory
	defer m.free()
	var out [64]byte
	var err C.dstack_error
	if bad := whole(tag, algorithm); bad != nil {
		return out, bad
	}
	status := C.dstack_report_data(m.text(tag), m.text(algorithm), m.bytes(content),
		(*C.uint8_t)(unsafe.Pointer(&out[0])), &err)
	return out, failure(status, &err)
}

// Policy says which TCB levels are good enough.
type Policy struct{ h *handle }

// NewPolicy reads the JSON form; "{}" takes UpToDate alone.
func NewPolicy(rules string) (*Policy, error) {
	var m memory
	defer m.free()
	var made *C.dstack_policy
	var err C.dstack_error
	if failed := failure(C.dstack_policy_parse(&made, m.bytes([]byte(rules)), &err), &err); failed != nil {
		return nil, failed
	}
	return &Policy{newHandle(unsafe.Pointer(made), func(p unsafe.Pointer) {
		C.dstack_policy_free((*C.dstack_policy)(p))
	})}, nil
}

// Close releases the policy.
func (p *Policy) Close() { p.h.close() }

// Collateral is what Intel publishes about a platform.
type Collateral struct{ h *handle }

func newCollateral(made *C.dstack_collateral) *Collateral {
	return &Collateral{newHandle(unsafe.Pointer(made), func(p unsafe.Pointer) {
		C.dstack_collateral_free((*C.dstack_collateral)(p))
	})}
}

// NewCollateral reads a JSON bundle.
func NewCollateral(bundle []byte) (*Collateral, error) {
	var m memory
	defer m.free()
	var made *C.dstack_collateral
	var err C.dstack_error
	if failed := failure(C.dstack_collateral_parse(&made, m.bytes(bundle), &err), &err); failed != nil {
		return nil, failed
	}
	return newCollateral(made), nil
}

// FetchCollateral fetches what verifies a quote; an empty server takes the default.
func FetchCollateral(quote []byte, server string, timeout time.Duration) (*Collateral, error) {
	var m memory
	defer m.free()
	var made *C.dstack_collateral
	var err C.dstack_error
	servers := (*C.dstack_collateral_servers)(C.calloc(1, C.sizeof_dstack_collateral_servers))
	m = append(m, unsafe.Pointer(servers))
	servers.timeout_ms = C.int64_t(timeout / time.Millisecond)
	if server != "" {
		if bad := whole(server); bad != nil {
			return nil, bad
		}
		url := (**C.char)(C.calloc(1, C.size_t(unsafe.Sizeof(uintptr(0)))))
		m = append(m, unsafe.Pointer(url))
		*url = m.text(server)
		servers.urls, servers.url_count = url, 1
	}
	if failed := failure(C.dstack_collateral_fetch(&made, m.bytes(quote), servers, &err), &err); failed != nil {
		return nil, failed
	}
	return newCollateral(made), nil
}

// Expires tells when the bundle stops being usable.
func (c *Collateral) Expires() (time.Time, error) {
	p, closed := c.h.hold()
	if closed != nil {
		return time.Time{}, closed
	}
	defer c.h.lock.RUnlock()
	var at C.int64_t
	var err C.dstack_error
	failed := failure(C.dstack_collateral_expires((*C.dstack_collateral)(p), &at, &err), &err)
	return time.Unix(int64(at), 0), failed
}

// Close releases the bundle.
func (c *Collateral) Close() { c.h.close() }

// Claim is one verified claim; Anchor tells what its trust rests on.
type Claim struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Anchor string `json:"anchor"`
}

// Verified is what a verification established.
type Verified struct {
	TeeVariant    string         `json:"tee_variant"`
	TcbStatus     string         `json:"tcb_status"`
	AdvisoryIDs   []string       `json:"advisory_ids"`
	ReportData    string         `json:"report_data"`
	AppInfo       map[string]any `json:"app_info"`
	OsImageAnchor string         `json:"os_image_anchor"`
	ExternalRoot  bool           `json:"external_root"`
	Claims        []Claim        `json:"claims"`
}

// AppID of the verified app.
func (v *Verified) AppID() []byte { return v.infoBytes("app_id") }

// ComposeHash of the verified app.
func (v *Verified) ComposeHash() []byte { return v.infoBytes("compose_hash") }

func (v *Verified) infoBytes(name string) []byte {
	text, _ := v.AppInfo[name].(string)
	value, _ := hex.DecodeString(text)
	return value
}

// Expect is what a caller demands beyond the truth of evidence. Zero fields demand nothing.
type Expect struct {
	ReportData      []byte // 64 bytes that must be bound; not looked at for certificates
	AppID           []byte
	ComposeHash     []byte
	Policy          *Policy // nil: every status but Revoked passes, and the caller judges
	VMConfig        string
	RequireMrConfig bool
	ImageDir        string    // folder of an image that the registers must follow from
	Now             time.Time // zero: the system's clock
}

func (e *Expect) now() C.int64_t {
	if e.Now.IsZero() {
		return C.int64_t(time.Now().Unix())
	}
	return C.int64_t(e.Now.Unix())
}

func (e *Expect) check(v *Verified) error {
	for _, one := range []struct {
		name   string
		wanted []byte
	}{{"app_id", e.AppID}, {"compose_hash", e.ComposeHash}} {
		found, _ := v.AppInfo[one.name].(string)
		if one.wanted != nil && found != hex.EncodeToString(one.wanted) {
			return refused(one.name + " is " + found + ", not " + hex.EncodeToString(one.wanted))
		}
	}
	return nil
}

// options builds the C struct in C memory. The caller unlocks what it returns, when not nil.
func (e *Expect) options(m *memory) (*C.dstack_attestation_options, func(), error) {
	if bad := whole(e.VMConfig, e.ImageDir); bad != nil {
		return nil, nil, bad
	}
	options := (*C.dstack_attestation_options)(C.calloc(1, C.sizeof_dstack_attestation_options))
	*m = append(*m, unsafe.Pointer(options))
	options.now = e.now()
	options.vm_config = m.text(e.VMConfig)
	options.require_mr_config = C.bool(e.RequireMrConfig)
	options.image_user = unsafe.Pointer(m.text(e.ImageDir))
	C.binding_options(options)
	if len(e.ReportData) != 0 {
		if len(e.ReportData) != C.DSTACK_REPORT_DATA_SIZE {
			return nil, nil, &Error{int(C.DSTACK_E_ARGUMENT), "argument", "report data must have 64 bytes"}
		}
		options.report_data = m.bytes(e.ReportData).data
	}
	if e.Policy == nil {
		return options, func() {}, nil
	}
	policy, closed := e.Policy.h.hold()
	if closed != nil {
		return nil, nil, closed
	}
	options.policy = (*C.struct_dstack_policy)(policy)
	return options, e.Policy.h.lock.RUnlock, nil
}

// VerifierConfig says whom a verifier trusts.
type VerifierConfig struct {
	Root           []byte // DER of one further anchor, for simulated platforms
	RootName       string
	NoBuiltinRoot  bool // Intel's root is not trusted
	AllowDebug     bool
	AllowServiceTD bool
}

// Verifier verifies evidence, and keeps what it verified.
type Verifier struct{ h *handle }

// NewVerifier makes one.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	var m memory
	defer m.free()
	if bad := whole(config.RootName); bad != nil {
		return nil, bad
	}
	options := (*C.dstack_verifier_options)(C.calloc(1, C.sizeof_dstack_verifier_options))
	m = append(m, unsafe.Pointer(options))
	options.no_builtin_root = C.bool(config.NoBuiltinRoot)
	options.allow_debug = C.bool(config.AllowDebug)
	options.allow_service_td = C.bool(config.AllowServiceTD)
	if len(config.Root) != 0 {
		root := (*C.dstack_trust_root)(C.calloc(1, C.sizeof_dstack_trust_root))
		m = append(m, unsafe.Pointer(root))
		name := config.RootName
		if name == "" {
			name = "pinned"
		}
		root.name, root.cert = m.text(name), m.bytes(config.Root)
		options.roots, options.root_count = root, 1
	}
	var made *C.dstack_verifier
	var err C.dstack_error
	if failed := failure(C.dstack_verifier_new(&made, options, &err), &err); failed != nil {
		return nil, failed
	}
	return &Verifier{newHandle(unsafe.Pointer(made), func(p unsafe.Pointer) {
		C.dstack_verifier_free((*C.dstack_verifier)(p))
	})}, nil
}

// Close releases the verifier; calls under way end first.
func (v *Verifier) Close() { v.h.close() }

// AddCollateral gives collateral to choose from.
func (v *Verifier) AddCollateral(c *Collateral) error {
	p, closed := v.h.hold()
	if closed != nil {
		return closed
	}
	defer v.h.lock.RUnlock()
	bundle, closed := c.h.hold()
	if closed != nil {
		return closed
	}
	defer c.h.lock.RUnlock()
	var err C.dstack_error
	return failure(C.dstack_verifier_add_collateral((*C.dstack_verifier)(p),
		(*C.dstack_collateral)(bundle), &err), &err)
}

func verifiedOf(made *C.dstack_verified, expect *Expect) (*Verified, error) {
	defer C.dstack_verified_free(made)
	var buf C.dstack_buf
	var err C.dstack_error
	status := C.dstack_verified_to_json(made, &buf, &err)
	text := take(&buf)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	found := new(Verified)
	if bad := json.Unmarshal(text, found); bad != nil {
		return nil, bad
	}
	return found, expect.check(found)
}

// Verify verifies an attestation end to end. Without ReportData nothing says that the evidence is
// fresh or meant for the caller.
func (v *Verifier) Verify(attestation []byte, expect Expect) (*Verified, error) {
	var m memory
	defer m.free()
	p, closed := v.h.hold()
	if closed != nil {
		return nil, closed
	}
	defer v.h.lock.RUnlock()
	options, unlock, bad := expect.options(&m)
	if bad != nil {
		return nil, bad
	}
	defer unlock()
	var decoded *C.dstack_attestation
	var err C.dstack_error
	if failed := failure(C.dstack_attestation_decode(m.bytes(attestation), &decoded, &err), &err); failed != nil {
		return nil, failed
	}
	defer C.dstack_attestation_free(decoded)
	var made *C.dstack_verified
	status := C.dstack_attestation_verify((*C.dstack_verifier)(p), decoded, options, &made, &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	found, failed := verifiedOf(made, &expect)
	if failed != nil {
		return nil, failed
	}
	return found, nil
}

// VerifyCertificate verifies a certificate (DER or PEM): its validity, its name where host is given,
// and its evidence, which must be there, bound to its key.
func (v *Verifier) VerifyCertificate(certificate []byte, host string, expect Expect) (*Verified, error) {
	var m memory
	defer m.free()
	p, closed := v.h.hold()
	if closed != nil {
		return nil, closed
	}
	defer v.h.lock.RUnlock()
	expect.ReportData = nil
	options, unlock, bad := expect.options(&m)
	if bad == nil {
		bad = whole(host)
	}
	if bad != nil {
		return nil, bad
	}
	defer unlock()
	var cert *C.dstack_cert
	var err C.dstack_error
	if failed := failure(C.dstack_cert_parse(m.bytes(certificate), &cert, &err), &err); failed != nil {
		return nil, failed
	}
	defer C.dstack_cert_free(cert)
	check := (*C.dstack_cert_check)(C.calloc(1, C.sizeof_dstack_cert_check))
	m = append(m, unsafe.Pointer(check))
	check.now, check.host, check.require_attestation = options.now, m.text(host), true
	check.attestation = options
	var made *C.dstack_verified
	status := C.dstack_cert_verify((*C.dstack_verifier)(p), cert, check, &made, &err)
	if failed := failure(status, &err); failed != nil {
		return nil, failed
	}
	found, failed := verifiedOf(made, &expect)
	if failed != nil {
		return nil, failed
	}
	return found, nil
}
