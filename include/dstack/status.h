/**
 * @file status.h
 * @brief Every status a libdstack call can return.
 *
 * Numbers are part of the ABI: they are never reused. Each area has a range of its own; the name
 * that `dstack_status_name()` gives is the lower-case form with a dot after the area.
 */
#ifndef DSTACK_STATUS_H
#define DSTACK_STATUS_H

typedef enum dstack_status {
    DSTACK_OK = 0,

    /* general: -1 .. -99 */
    DSTACK_E_ARGUMENT = -1,    /**< The caller passed a value outside its documented range. */
    DSTACK_E_MEMORY = -2,      /**< Memory could not be had. */
    DSTACK_E_FORMAT = -3,      /**< Bytes or text do not have the required form. */
    DSTACK_E_LIMIT = -4,       /**< A stated size or count limit was exceeded. */
    DSTACK_E_NOT_FOUND = -5,   /**< A named thing does not exist. */
    DSTACK_E_IO = -6,          /**< A file or device operation failed. */
    DSTACK_E_NETWORK = -7,     /**< A peer could not be reached or broke off. */
    DSTACK_E_TIMEOUT = -8,     /**< A deadline passed. */
    DSTACK_E_UNSUPPORTED = -9, /**< Known, but not supported by this build or platform. */
    DSTACK_E_STATE = -10,      /**< The object or service is not in a state that allows this. */
    DSTACK_E_CRYPTO = -11,     /**< A primitive failed: bad key, failed decryption or signature. */
    DSTACK_E_REFUSED = -12,    /**< Policy refused. */
    DSTACK_E_EXISTS = -13,     /**< Exists already, and is not overwritten. */
    DSTACK_E_INTERNAL = -14,   /**< A defect of this library. */
    DSTACK_E_PEER = -15,       /**< The peer answered with an error of its own. */
    DSTACK_E_INSECURE = -16,   /**< Would weaken security and needs an explicit insecure mode. */

    /* certificates: -100 .. -119 */
    DSTACK_E_X509_PATH = -100,    /**< No acceptable path to the trust anchor. */
    DSTACK_E_X509_EXPIRED = -101, /**< A certificate or list is not valid at the given time. */
    DSTACK_E_X509_REVOKED = -102, /**< The issuer revoked a certificate of the path. */

    /* Intel DCAP quotes: -200 .. -299 */
    /** The collateral bundle is not the JSON object it must be. */
    DSTACK_E_DCAP_COLLATERAL_FORMAT = -200,
    /** A trust anchor is not one self-issued DER certificate. */
    DSTACK_E_DCAP_ROOT_CA_FORMAT = -201,
    /** A revocation list cannot be read or is of a kind not taken. */
    DSTACK_E_DCAP_CRL_FORMAT = -202,
    DSTACK_E_DCAP_CRL_NOT_FOUND = -203, /**< No revocation list covers a certificate. */
    /** A revocation list is not signed by the issuer it names. */
    DSTACK_E_DCAP_CRL_SIGNATURE = -204,
    DSTACK_E_DCAP_CRL_EXPIRED = -205,       /**< A revocation list's nextUpdate has passed. */
    DSTACK_E_DCAP_CRL_NOT_YET_VALID = -206, /**< A revocation list's thisUpdate lies ahead. */
    /** The issuer of a revocation list may not sign such lists. */
    DSTACK_E_DCAP_CRL_ISSUER_USAGE = -207,
    DSTACK_E_DCAP_CERT_REVOKED = -208,    /**< A certificate is on its issuer's revocation list. */
    DSTACK_E_DCAP_QUOTE_FORMAT = -209,    /**< The quote's bytes do not have a known layout. */
    DSTACK_E_DCAP_QE_VENDOR = -210,       /**< The quoting enclave is not Intel's. */
    DSTACK_E_DCAP_TEE_TYPE = -211,        /**< The quote names an unknown kind of TEE. */
    DSTACK_E_DCAP_TEE_VERSION = -212,     /**< The quote version does not go with its TEE. */
    DSTACK_E_DCAP_ATT_KEY_TYPE = -213,    /**< The attestation key is not ECDSA P-256. */
    DSTACK_E_DCAP_TCB_INFO_FORMAT = -214, /**< The TCB info text cannot be read. */
    DSTACK_E_DCAP_TCB_INFO_NOT_YET_VALID = -215, /**< The TCB info's issueDate lies ahead. */
    DSTACK_E_DCAP_TCB_INFO_EXPIRED = -216,       /**< The TCB info's nextUpdate has passed. */
    /** The TCB info's signer certificate is missing or cannot be read. */
    DSTACK_E_DCAP_TCB_INFO_CHAIN = -217,
    DSTACK_E_DCAP_TCB_INFO_SIGNATURE = -218,        /**< The TCB info's signature does not hold. */
    DSTACK_E_DCAP_QE_IDENTITY_FORMAT = -219,        /**< The QE identity text cannot be read. */
    DSTACK_E_DCAP_QE_IDENTITY_NOT_YET_VALID = -220, /**< The QE identity's issueDate lies ahead. */
    DSTACK_E_DCAP_QE_IDENTITY_EXPIRED = -221,       /**< The QE identity's nextUpdate has passed. */
    /** The QE identity's signer certificate is missing or cannot be read. */
    DSTACK_E_DCAP_QE_IDENTITY_CHAIN = -222,
    DSTACK_E_DCAP_QE_IDENTITY_SIGNATURE = -223, /**< The QE identity's signature does not hold. */
    DSTACK_E_DCAP_QE_IDENTITY_TYPE = -224,   /**< The QE identity is for another kind of quote. */
    DSTACK_E_DCAP_CERT_EXPIRED = -225,       /**< A certificate's notAfter has passed. */
    DSTACK_E_DCAP_CERT_NOT_YET_VALID = -226, /**< A certificate's notBefore lies ahead. */
    DSTACK_E_DCAP_CERT_SIGNATURE = -227,     /**< A certificate's signature does not hold. */
    /** No path leads from a certificate to the trust anchor. */
    DSTACK_E_DCAP_CERT_UNKNOWN_ISSUER = -228,
    /** A CA stands as leaf, a leaf as CA, or a path is too long. */
    DSTACK_E_DCAP_CERT_CONSTRAINTS = -229,
    DSTACK_E_DCAP_CERT_USAGE = -230, /**< A certificate's key usage does not allow its use. */
    /** A certificate's name is not the one its role has in Intel's PKI. */
    DSTACK_E_DCAP_CERT_NAME = -231,
    DSTACK_E_DCAP_CERT_FORMAT = -232, /**< An intermediate certificate cannot be read. */
    /** The quote carries no PCK chain and the collateral has none. */
    DSTACK_E_DCAP_CERT_DATA_TYPE = -233,
    DSTACK_E_DCAP_PCK_CHAIN_FORMAT = -234, /**< The PCK certificate is missing or cannot be read. */
    /** The PCK certificate's SGX extension is missing or incomplete. */
    DSTACK_E_DCAP_PCK_EXTENSION = -235,
    DSTACK_E_DCAP_QE_REPORT_SIGNATURE = -236, /**< The QE report is not signed by the PCK key. */
    DSTACK_E_DCAP_QE_AUTH_DATA = -237,        /**< The QE authentication data are not 32 bytes. */
    DSTACK_E_DCAP_QE_REPORT_DATA = -238, /**< The QE report does not bind the attestation key. */
    DSTACK_E_DCAP_QE_MRSIGNER = -239, /**< The quoting enclave's signer is not the expected one. */
    DSTACK_E_DCAP_QE_DEBUG = -240,    /**< The quoting enclave runs in debug mode. */
    /** The quoting enclave's product id is not the expected one. */
    DSTACK_E_DCAP_QE_ISVPRODID = -241,
    /** The quoting enclave's MISCSELECT is not the expected one. */
    DSTACK_E_DCAP_QE_MISCSELECT = -242,
    /** The quoting enclave's attributes are not the expected ones. */
    DSTACK_E_DCAP_QE_ATTRIBUTES = -243,
    DSTACK_E_DCAP_QE_ISVSVN = -244, /**< The quoting enclave is older than every known level. */
    DSTACK_E_DCAP_QUOTE_SIGNATURE = -245, /**< The quote is not signed by its attestation key. */
    DSTACK_E_DCAP_FMSPC_MISMATCH = -246,  /**< The TCB info is for another platform family. */
    DSTACK_E_DCAP_PCEID_MISMATCH = -247,  /**< The TCB info is for another PCE. */
    DSTACK_E_DCAP_TCB_INFO_TYPE = -248,   /**< The TCB info is for another kind of TEE. */
    DSTACK_E_DCAP_TCB_COMPONENT_COUNT = -249, /**< A TCB level has not 16 components. */
    DSTACK_E_DCAP_TCB_NOT_SUPPORTED = -250,   /**< The platform is below every known TCB level. */
    DSTACK_E_DCAP_TDX_MODULE = -251,          /**< The TDX module is not one the TCB info knows. */
    DSTACK_E_DCAP_TCB_REVOKED = -252,         /**< The TCB level is revoked. */
    DSTACK_E_DCAP_SERVICE_TD = -253,          /**< A service TD is bound to the TD. */
    DSTACK_E_DCAP_DEBUG = -254,               /**< The TD or enclave runs in debug mode. */
    DSTACK_E_DCAP_TD_ATTRIBUTES = -255,       /**< A reserved TD attribute is set. */
    DSTACK_E_DCAP_SEPT_VE_DISABLE = -256,     /**< The TD attribute SEPT_VE_DISABLE is not set. */
    DSTACK_E_DCAP_POLICY_FORMAT = -257,       /**< The policy text cannot be read. */
    DSTACK_E_DCAP_POLICY_STATUS = -258,       /**< Policy does not allow the TCB status. */
    DSTACK_E_DCAP_POLICY_COLLATERAL = -259,   /**< Policy refuses collateral past its date. */
    /** The platform has been out of date for longer than policy grants. */
    DSTACK_E_DCAP_POLICY_PLATFORM_AGE = -260,
    /** The quoting enclave has been out of date for longer than policy grants. */
    DSTACK_E_DCAP_POLICY_QE_AGE = -261,
    DSTACK_E_DCAP_POLICY_ADVISORY = -262, /**< Policy rejects an advisory that applies. */
    /** The TCB evaluation data number is lower than policy demands. */
    DSTACK_E_DCAP_POLICY_EVAL_NUMBER = -263,
    DSTACK_E_DCAP_POLICY_DYNAMIC_PLATFORM = -264, /**< Policy refuses dynamic platforms. */
    DSTACK_E_DCAP_POLICY_CACHED_KEYS = -265,      /**< Policy refuses platforms with cached keys. */
    DSTACK_E_DCAP_POLICY_SMT = -266,              /**< Policy refuses platforms with SMT. */
    DSTACK_E_DCAP_POLICY_SGX_TYPE = -267,         /**< Policy refuses this SGX type. */
    /** The TDX module is signed by somebody else than Intel. */
    DSTACK_E_DCAP_MODULE_SIGNER = -268,
    DSTACK_E_DCAP_REPORT_DATA = -269, /**< The report data are not the expected ones. */
    /** The verifier has no collateral for this platform. */
    DSTACK_E_DCAP_COLLATERAL_NOT_FOUND = -270,
    DSTACK_E_DCAP_COLLATERAL_FETCH = -271, /**< A collateral server's answer cannot be used. */
    /** Policy demands or forbids TD attributes or extended features otherwise. */
    DSTACK_E_DCAP_POLICY_ATTRIBUTES = -272,
} dstack_status;

#endif
