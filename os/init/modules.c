/* Kernel modules of the initramfs, loaded in the order that the build wrote down. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/module.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void module_load(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        init_fail("cannot open module %s: %s", path, strerror(errno));
    }
    size_t len = strlen(path);
    int flags = len > 3 && strcmp(path + len - 3, ".xz") == 0 ? MODULE_INIT_COMPRESSED_FILE : 0;
    if (syscall(SYS_finit_module, fd, "", flags) < 0 && errno != EEXIST) {
        init_fail("cannot load module %s: %s", path, strerror(errno));
    }
    close(fd);
}

void modules_load(const char *list_path) {
    FILE *list = fopen(list_path, "re");
    if (!list) {
        init_fail("cannot open %s: %s", list_path, strerror(errno));
    }
    char path[256];
    while (fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = '\0';
        if (path[0] != '\0') {
            module_load(path);
        }
    }
    fclose(list);
}
