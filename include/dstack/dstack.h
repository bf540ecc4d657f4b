/** @file dstack.h  The whole public API of libdstack. */
#ifndef DSTACK_DSTACK_H
#define DSTACK_DSTACK_H

#include <dstack/acme.h>
#include <dstack/agent.h>
#include <dstack/attestation.h>
#include <dstack/attestation_policy.h>
#include <dstack/bytes.h>
#include <dstack/cert.h>
#include <dstack/collateral.h>
#include <dstack/ear.h>
#include <dstack/envelope.h>
#include <dstack/error.h>
#include <dstack/keys.h>
#include <dstack/kms.h>
#include <dstack/manifest.h>
#include <dstack/measure.h>
#include <dstack/measure_snp.h>
#include <dstack/nitro.h>
#include <dstack/policy.h>
#include <dstack/quote.h>
#include <dstack/refresh.h>
#include <dstack/snp.h>
#include <dstack/status.h>
#include <dstack/tee.h>
#include <dstack/tlog.h>
#include <dstack/tls.h>
#include <dstack/tpm.h>
#include <dstack/uki.h>
#include <dstack/verifier.h>
#include <dstack/version.h>

#endif
