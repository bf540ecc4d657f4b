/* Remembers which registers were found to be those of an image, so that the next guest of the same
 * image and shape is not measured again.
 *
 * An answer that follows from the question alone (the prover's own measurement document) is a pure
 * function of it: it is kept under a hash of every input, and only where it is "yes". Bounded, the
 * oldest goes first. Thread-safe. */
#ifndef SERVICE_IMAGE_ANSWERS_H
#define SERVICE_IMAGE_ANSWERS_H

#include <dstack/attestation.h>

#include "base/auto.h"

typedef struct image_answers image_answers;

/* NULL when memory ran out. */
image_answers *image_answers_new(void);
void image_answers_free(image_answers *answers);
DSTACK_AUTO_DEFINE(image_answers, image_answers, image_answers_free)

/* Names a question about a TDX guest; false for any other, which is not remembered. */
bool image_answers_name(const dstack_image_question *question, uint8_t name[32]);
bool image_answers_find(image_answers *answers, const uint8_t name[32], dstack_anchor *anchor,
                        uint8_t hash[32]);
void image_answers_keep(image_answers *answers, const uint8_t name[32], dstack_anchor anchor,
                        const uint8_t hash[32]);

#endif
