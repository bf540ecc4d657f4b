/* A guest image's archive into a folder, and the folder against its hash. */
#ifndef SERVICE_IMAGE_UNPACK_H
#define SERVICE_IMAGE_UNPACK_H

#include <dstack/bytes.h>

/* Unpacks a gzipped tar archive from `archive_fd` into the folder `dir_fd`. Files at its top with
 * plain names are written; files in folders are read over: no image has any. Links, devices, paths
 * that lead out are DSTACK_E_REFUSED. More than `limit` bytes in all is DSTACK_E_LIMIT. */
int image_unpack(int archive_fd, int dir_fd, size_t limit, dstack_error *err);

/* The folder is the image of this hash (64 lower-case hex digits): its sha256sum.txt has it, every
 * listed file is there with its hash. What is not listed is removed. */
int image_settle(int dir_fd, const char *hash, dstack_error *err);

#endif
