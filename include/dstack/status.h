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
} dstack_status;

#endif
