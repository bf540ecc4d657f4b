/** @file dstack.h  The whole public API of libdstack. */
#ifndef DSTACK_DSTACK_H
#define DSTACK_DSTACK_H

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/status.h>
#include <dstack/version.h>

#endif
