/* Randomness of the operating system. Backend: libsodium. */
#ifndef DSTACK_CRYPTO_RANDOM_H
#define DSTACK_CRYPTO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills out with len unpredictable bytes. Cannot fail: libsodium aborts the process where the
 * kernel gives no randomness. */
void random_fill(void *out, size_t len);

#endif
