/* Archives of images: whatever they hold, plain files with plain names come out, in the folder that
 * was given and within the limit. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/file.h"
#include "service/image_unpack.h"

#define LIMIT ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[] = "/tmp/dstack-fuzz-XXXXXX";

static void remove_folder(void) {
    rmdir(path);
}

static int folder(void) {
    static int fd = -1;
    if (fd < 0 && mkdtemp(path) != NULL) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        atexit(remove_folder);
    }
    return fd;
}

/* Looks at everything that came out, and removes it. */
static void check_and_empty(int dir_fd) {
    size_t total = 0;
    DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (fstatat(dir_fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode) || file_check_name(entry->d_name, "file", NULL) != 0) {
            abort();
        }
        total += (size_t)info.st_size;
        unlinkat(dir_fd, entry->d_name, 0);
    }
    closedir(dir);
    if (total > LIMIT) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int dir_fd = folder(), archive = memfd_create("archive", MFD_CLOEXEC);
    if (archive < 0 || (size > 0 && write(archive, data, size) != (ssize_t)size) ||
        lseek(archive, 0, SEEK_SET) != 0) {
        abort();
    }
    (void)image_unpack(archive, dir_fd, LIMIT, NULL);
    close(archive);
    check_and_empty(dir_fd);
    return 0;
}
