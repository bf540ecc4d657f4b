/* One thing wrong at a time: each check of the list refuses with its own status, cold and warm. */
#include "made.h"

#include "x509/cert.h"

typedef struct refusal {
    const char *sentence;
    dstack_status status;
    void (*spoil)(made_spec *s);
} refusal;

#define SPOIL(name, statement)                                                                     \
    static void name(made_spec *s) {                                                               \
        statement;                                                                                 \
    }
#define FORGE(what) s->forged |= MADE_BIT(MADE_SIGNED_##what)
#define REVOKE(role) s->revoked |= MADE_BIT(MADE_##role)
#define EDIT(member, from, to) (s->member[0] = (from), s->member[1] = (to))

SPOIL(nothing, (void)s)
SPOIL(forged_ca, FORGE(CA))
SPOIL(forged_leaf, FORGE(LEAF))
SPOIL(forged_signer, FORGE(SIGNER))
SPOIL(forged_root_crl, FORGE(ROOT_CRL))
SPOIL(forged_pck_crl, FORGE(PCK_CRL))
SPOIL(forged_tcb_info, FORGE(TCB_INFO))
SPOIL(forged_qe_identity, FORGE(QE_IDENTITY))
SPOIL(forged_qe_report, FORGE(QE_REPORT))
SPOIL(forged_quote, FORGE(QUOTE))
SPOIL(revoked_ca, REVOKE(CA))
SPOIL(revoked_leaf, REVOKE(LEAF))
SPOIL(revoked_signer, REVOKE(SIGNER))
SPOIL(revoked_root, REVOKE(ROOT))
SPOIL(old_root, s->certs[MADE_ROOT].until = MADE_NOW - 1)
SPOIL(old_ca, s->certs[MADE_CA].until = MADE_NOW - 1)
SPOIL(old_leaf, s->certs[MADE_LEAF].until = MADE_NOW - 1)
SPOIL(old_signer, s->certs[MADE_SIGNER].until = MADE_NOW - 1)
SPOIL(last_second_leaf, s->certs[MADE_LEAF].until = MADE_NOW)
SPOIL(early_leaf, s->certs[MADE_LEAF].from = MADE_NOW + 1)
SPOIL(early_signer, s->certs[MADE_SIGNER].from = MADE_NOW + 1)
SPOIL(old_root_crl, s->root_crl.until = MADE_NOW)
SPOIL(old_pck_crl, s->pck_crl.until = MADE_NOW)
SPOIL(last_second_crl, s->pck_crl.until = s->root_crl.until = MADE_NOW + 1)
SPOIL(early_root_crl, s->root_crl.from = MADE_NOW + 1)
SPOIL(early_pck_crl, s->pck_crl.from = MADE_NOW + 1)
SPOIL(swapped_lists, s->swap_lists = 1)
SPOIL(old_texts, s->texts_until = MADE_NOW - 1)
SPOIL(early_texts, s->texts_from = MADE_NOW + 1)
SPOIL(last_second_texts, s->texts_until = MADE_NOW)
SPOIL(leaf_is_ca, s->certs[MADE_LEAF].is_ca = true)
SPOIL(ca_is_leaf, s->certs[MADE_CA].is_ca = false)
SPOIL(ca_may_not_sign, s->certs[MADE_CA].key_usage = X509_KU_CRL_SIGN)
SPOIL(ca_may_not_list, s->certs[MADE_CA].key_usage = X509_KU_CERT_SIGN)
SPOIL(leaf_for_clients, s->certs[MADE_LEAF].eku = X509_EKU_CLIENT_AUTH)
SPOIL(no_chain, s->no_chain = true)
SPOIL(short_auth, s->auth_size = 31)
SPOIL(long_auth, s->auth_size = 64)
SPOIL(unbound_key, s->unbound_key = true)
SPOIL(qe_signer, s->qe.mr_signer[0] ^= 1)
SPOIL(qe_debug, s->qe.attributes[0] |= 2)
SPOIL(qe_product, s->qe.isv_prod_id[0] = 3)
SPOIL(qe_misc, s->qe.misc_select[3] = 1)
SPOIL(qe_attributes, s->qe.attributes[1] = 1)
SPOIL(qe_masked_attribute, s->qe.attributes[0] |= 4)
SPOIL(qe_svn_low, s->qe.isv_svn[0] = 5)
SPOIL(qe_for_sgx, EDIT(qe_edits, "TD_QE", "QE"))
SPOIL(qe_duplicate, EDIT(qe_edits, "\"isvprodid\":2", "\"isvprodid\":2,\"isvprodid\":2"))
SPOIL(other_fmspc, EDIT(tcb_edits, "00906EA10000", "00906EA10001"))
SPOIL(other_pce, EDIT(tcb_edits, "\"pceId\":\"0000\"", "\"pceId\":\"0001\""))
SPOIL(tcb_for_sgx, EDIT(tcb_edits, "\"TDX\"", "\"SGX\""))
SPOIL(tcb_type_1, EDIT(tcb_edits, "\"tcbType\":0", "\"tcbType\":1"))
SPOIL(tcb_version_4, EDIT(tcb_edits, "\"version\":3", "\"version\":4"))
SPOIL(tcb_float, EDIT(tcb_edits, "\"pcesvn\":5", "\"pcesvn\":5.0"))
SPOIL(tcb_unknown_status, EDIT(tcb_edits, "OutOfDate\"", "outOfDate\""))
SPOIL(tcb_15_components, EDIT(tcb_edits, ",{\"svn\":0}]", "]"))
SPOIL(no_module_identity, EDIT(tcb_edits, "TDX_01", "TDX_02"))
SPOIL(module_signer, s->td.mr_signer_seam[47] = 1)
SPOIL(module_attributes, s->td.seam_attributes[7] = 0x80)
SPOIL(module_unmasked, (s->td.seam_attributes[0] = 0x80, s->td.tee_tcb_svn[1] = 0,
                        EDIT(tcb_edits, "\"attributesMask\":\"FF", "\"attributesMask\":\"00")))
SPOIL(module_svn_low, s->td.tee_tcb_svn[0] = 1)
SPOIL(component_low, s->components[7] = 2)
SPOIL(pce_svn_low, s->pce_svn = 4)
SPOIL(tdx_component_low, s->td.tee_tcb_svn[2] = 1)
SPOIL(revoked_level,
      EDIT(tcb_edits, "\"tcbStatus\":\"UpToDate\",\"advisoryIDs\":[]},{\"tcb\":{\"sgx",
           "\"tcbStatus\":\"Revoked\",\"advisoryIDs\":[]},{\"tcb\":{\"sgx"))
SPOIL(revoked_module, EDIT(tcb_edits, "UpToDate", "Revoked"))
SPOIL(revoked_qe, EDIT(qe_edits, "UpToDate", "Revoked"))
SPOIL(debug_td, s->td.td_attributes[0] = 1)
SPOIL(profiled_td, s->td.td_attributes[0] = 0x10)
SPOIL(migratable_td, s->td.td_attributes[3] |= 0x20)
SPOIL(reserved_bit_39, s->td.td_attributes[4] = 0x80)
SPOIL(perfmon, s->td.td_attributes[7] = 0x80)
SPOIL(no_sept_ve, s->td.td_attributes[3] = 0)
SPOIL(service_td, (s->version = 5, s->with_td15 = true, s->td15.mr_service_td[0] = 1))

static const refusal refusals[] = {
    {"a sound quote passes", DSTACK_OK, nothing},
    {"a certificate is good in the last second of its validity", DSTACK_OK, last_second_leaf},
    {"a revocation list is good in the second before nextUpdate", DSTACK_OK, last_second_crl},
    {"signed texts are good in the second of nextUpdate", DSTACK_OK, last_second_texts},
    {"an enclave attribute outside the mask is not looked at", DSTACK_OK, qe_masked_attribute},
    {"a TD with performance monitoring passes", DSTACK_OK, perfmon},
    {"sec_32 a PCK CA that the root did not sign is refused", DSTACK_E_DCAP_CERT_SIGNATURE,
     forged_ca},
    {"sec_32 a PCK certificate that its CA did not sign is refused", DSTACK_E_DCAP_CERT_SIGNATURE,
     forged_leaf},
    {"sec_32 a TCB signing certificate that the root did not sign is refused",
     DSTACK_E_DCAP_CERT_SIGNATURE, forged_signer},
    {"sec_32 a forged root list is refused", DSTACK_E_DCAP_CRL_SIGNATURE, forged_root_crl},
    {"sec_32 a forged PCK list is refused", DSTACK_E_DCAP_CRL_SIGNATURE, forged_pck_crl},
    {"sec_32 forged TCB info is refused", DSTACK_E_DCAP_TCB_INFO_SIGNATURE, forged_tcb_info},
    {"sec_32 a forged QE identity is refused", DSTACK_E_DCAP_QE_IDENTITY_SIGNATURE,
     forged_qe_identity},
    {"sec_32 a forged QE report is refused", DSTACK_E_DCAP_QE_REPORT_SIGNATURE, forged_qe_report},
    {"sec_32 a forged quote is refused", DSTACK_E_DCAP_QUOTE_SIGNATURE, forged_quote},
    {"sec_32 a revoked PCK CA is refused", DSTACK_E_DCAP_CERT_REVOKED, revoked_ca},
    {"sec_32 a revoked PCK certificate is refused", DSTACK_E_DCAP_CERT_REVOKED, revoked_leaf},
    {"sec_32 a revoked TCB signing certificate is refused", DSTACK_E_DCAP_CERT_REVOKED,
     revoked_signer},
    {"sec_32 a root that revoked itself is refused", DSTACK_E_DCAP_CERT_REVOKED, revoked_root},
    {"sec_32 an expired root is refused", DSTACK_E_DCAP_CERT_EXPIRED, old_root},
    {"sec_32 an expired PCK CA is refused", DSTACK_E_DCAP_CERT_EXPIRED, old_ca},
    {"sec_32 an expired PCK certificate is refused", DSTACK_E_DCAP_CERT_EXPIRED, old_leaf},
    {"sec_32 an expired TCB signing certificate is refused", DSTACK_E_DCAP_CERT_EXPIRED,
     old_signer},
    {"sec_32 a PCK certificate of tomorrow is refused", DSTACK_E_DCAP_CERT_NOT_YET_VALID,
     early_leaf},
    {"sec_32 a TCB signing certificate of tomorrow is refused", DSTACK_E_DCAP_CERT_NOT_YET_VALID,
     early_signer},
    {"sec_32 a root list at its nextUpdate is refused", DSTACK_E_DCAP_CRL_EXPIRED, old_root_crl},
    {"sec_32 a PCK list at its nextUpdate is refused", DSTACK_E_DCAP_CRL_EXPIRED, old_pck_crl},
    {"sec_32 a root list of tomorrow is refused", DSTACK_E_DCAP_CRL_NOT_YET_VALID, early_root_crl},
    {"sec_32 a PCK list of tomorrow is refused", DSTACK_E_DCAP_CRL_NOT_YET_VALID, early_pck_crl},
    {"sec_32 lists in each other's place are refused", DSTACK_E_DCAP_CRL_NOT_FOUND, swapped_lists},
    {"sec_32 TCB info past its nextUpdate is refused", DSTACK_E_DCAP_TCB_INFO_EXPIRED, old_texts},
    {"sec_32 TCB info of tomorrow is refused", DSTACK_E_DCAP_TCB_INFO_NOT_YET_VALID, early_texts},
    {"sec_32 a CA as PCK certificate is refused", DSTACK_E_DCAP_CERT_CONSTRAINTS, leaf_is_ca},
    {"sec_32 a PCK CA that is no CA is refused", DSTACK_E_DCAP_CERT_CONSTRAINTS, ca_is_leaf},
    {"sec_32 a PCK CA that may not sign certificates is refused", DSTACK_E_DCAP_CERT_USAGE,
     ca_may_not_sign},
    {"sec_32 a PCK CA that may not sign lists is refused", DSTACK_E_DCAP_CRL_ISSUER_USAGE,
     ca_may_not_list},
    {"sec_32 a PCK certificate for TLS clients is refused", DSTACK_E_DCAP_CERT_USAGE,
     leaf_for_clients},
    {"sec_32 a quote without certificates is refused", DSTACK_E_DCAP_PCK_CHAIN_FORMAT, no_chain},
    {"sec_32 31 bytes of authentication data are refused", DSTACK_E_DCAP_QE_AUTH_DATA, short_auth},
    {"sec_32 64 bytes of authentication data are refused", DSTACK_E_DCAP_QE_AUTH_DATA, long_auth},
    {"sec_32 an attestation key the QE report does not vouch for is refused",
     DSTACK_E_DCAP_QE_REPORT_DATA, unbound_key},
    {"sec_32 a quoting enclave of another signer is refused", DSTACK_E_DCAP_QE_MRSIGNER, qe_signer},
    {"sec_32 a quoting enclave in debug mode is refused", DSTACK_E_DCAP_QE_DEBUG, qe_debug},
    {"sec_32 a quoting enclave of another product is refused", DSTACK_E_DCAP_QE_ISVPRODID,
     qe_product},
    {"sec_32 a quoting enclave with another MISCSELECT is refused", DSTACK_E_DCAP_QE_MISCSELECT,
     qe_misc},
    {"sec_32 a quoting enclave with other attributes is refused", DSTACK_E_DCAP_QE_ATTRIBUTES,
     qe_attributes},
    {"sec_32 a quoting enclave older than every level is refused", DSTACK_E_DCAP_QE_ISVSVN,
     qe_svn_low},
    {"sec_32 a QE identity for SGX is refused for a TDX quote", DSTACK_E_DCAP_QE_IDENTITY_TYPE,
     qe_for_sgx},
    {"sec_32 a QE identity with a member twice is refused", DSTACK_E_DCAP_QE_IDENTITY_FORMAT,
     qe_duplicate},
    {"sec_32 TCB info of another platform family is refused", DSTACK_E_DCAP_FMSPC_MISMATCH,
     other_fmspc},
    {"sec_32 TCB info of another PCE is refused", DSTACK_E_DCAP_PCEID_MISMATCH, other_pce},
    {"sec_32 TCB info for SGX is refused for a TDX quote", DSTACK_E_DCAP_TCB_INFO_TYPE,
     tcb_for_sgx},
    {"sec_32 TCB info of an unknown type is refused", DSTACK_E_DCAP_TCB_INFO_FORMAT, tcb_type_1},
    {"sec_32 TCB info of an unknown version is refused", DSTACK_E_DCAP_TCB_INFO_FORMAT,
     tcb_version_4},
    {"sec_32 a fraction where an integer must stand is refused", DSTACK_E_DCAP_TCB_INFO_FORMAT,
     tcb_float},
    {"sec_32 a status in other letters is refused, used or not", DSTACK_E_DCAP_TCB_INFO_FORMAT,
     tcb_unknown_status},
    {"sec_32 a level with 15 components is refused", DSTACK_E_DCAP_TCB_COMPONENT_COUNT,
     tcb_15_components},
    {"sec_32 a TDX module without an identity is refused", DSTACK_E_DCAP_TDX_MODULE,
     no_module_identity},
    {"sec_32 a TDX module of another signer is refused", DSTACK_E_DCAP_TDX_MODULE, module_signer},
    {"sec_32 a TDX module with other attributes is refused", DSTACK_E_DCAP_TDX_MODULE,
     module_attributes},
    {"sec_32 a TDX module with an attribute that the mask leaves open is refused",
     DSTACK_E_DCAP_TDX_MODULE, module_unmasked},
    {"sec_32 a TDX module older than every level is refused", DSTACK_E_DCAP_TDX_MODULE,
     module_svn_low},
    {"sec_32 a platform with too old a component is refused", DSTACK_E_DCAP_TCB_NOT_SUPPORTED,
     component_low},
    {"sec_32 a platform with too old a PCE is refused", DSTACK_E_DCAP_TCB_NOT_SUPPORTED,
     pce_svn_low},
    {"sec_32 a platform with too old a TDX component is refused", DSTACK_E_DCAP_TCB_NOT_SUPPORTED,
     tdx_component_low},
    {"sec_32 a revoked platform level is refused", DSTACK_E_DCAP_TCB_REVOKED, revoked_level},
    {"sec_32 a revoked TDX module is refused", DSTACK_E_DCAP_TCB_REVOKED, revoked_module},
    {"sec_32 a revoked quoting enclave is refused", DSTACK_E_DCAP_TCB_REVOKED, revoked_qe},
    {"sec_32 a debug TD is refused", DSTACK_E_DCAP_DEBUG, debug_td},
    {"sec_32 a profiled TD is refused", DSTACK_E_DCAP_TD_ATTRIBUTES, profiled_td},
    {"sec_32 a migratable TD is refused", DSTACK_E_DCAP_TD_ATTRIBUTES, migratable_td},
    {"sec_32 reserved attribute bit 39 is refused", DSTACK_E_DCAP_TD_ATTRIBUTES, reserved_bit_39},
    {"sec_32 a TD without SEPT_VE_DISABLE is refused", DSTACK_E_DCAP_SEPT_VE_DISABLE, no_sept_ve},
    {"sec_32 a TD with a service TD is refused", DSTACK_E_DCAP_SERVICE_TD, service_td},
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

static void expect(int rc, const dstack_error *err, const refusal *r) {
    if (rc != (int)r->status) {
        fail_msg("%s: %s (%s) instead of %s", r->sentence, dstack_status_name((dstack_status)rc),
                 err->message, dstack_status_name(r->status));
    }
}

/* With the collateral given in the call, cold and twice; and, by a verifier that chooses, after it
 * has seen a sound quote of the same platform. */
static void run_refusal(void **state) {
    const refusal *r = *state;
    DSTACK_AUTO(made) made spoiled, sound;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &sound);
    r->spoil(&spec);
    made_build(&spec, &spoiled);
    dstack_verifier *v = made_verifier(&spoiled, (dstack_verifier_options){0});
    dstack_error err = {0};
    dstack_quote_report report;
    for (int round = 0; round < 2; round++) {
        expect(dstack_verifier_check_with(v, bytes_of_buf(&spoiled.quote), spoiled.collateral, NULL,
                                          MADE_NOW, &report, &err),
               &err, r);
    }
    if (r->spoil != old_root) {
        assert_ok(dstack_verifier_check_with(v, bytes_of_buf(&sound.quote), sound.collateral, NULL,
                                             MADE_NOW, &report, &err),
                  err);
    }
    expect(dstack_verifier_check_with(v, bytes_of_buf(&spoiled.quote), spoiled.collateral, NULL,
                                      MADE_NOW, NULL, &err),
           &err, r);
    dstack_verifier_free(v);
}

int main(void) {
    static struct CMUnitTest tests[REFUSALS];
    for (size_t i = 0; i < REFUSALS; i++) {
        tests[i] = (struct CMUnitTest){refusals[i].sentence, run_refusal, NULL, NULL,
                                       (void *)(uintptr_t)&refusals[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
