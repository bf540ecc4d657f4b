/* `dstack-vmm simulate-tee`: makes the platform's keys, or serves one simulated TEE on a socket to a
 * process of the host. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "measure/json.h"
#include "sim/sim_pki.h"
#include "sim/sim_server.h"

#define JSON_LIMIT ((size_t)1 << 20)

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_ENVIRONMENT = 3 };

static const char usage[] =
    "Usage: dstack-vmm simulate-tee --init DIR [--seed HEX]\n"
    "       dstack-vmm simulate-tee --keys DIR --socket PATH [--state FILE] [--fresh]\n"
    "                  (--image DIR [--vm-config FILE] [--write-vm-config FILE] |\n"
    "                   --measurements FILE)\n"
    "\n"
    "Makes the keys of a simulated TDX platform, or serves one simulated TEE to a process.\n"
    "Its quotes have the real format; they verify only where the platform's root is pinned.\n"
    "\n"
    "  --init DIR              make keys, root certificate and collateral in DIR\n"
    "  --seed HEX              32 bytes: deterministic keys, those of the reference's mock roots\n"
    "  --keys DIR              a folder that --init made\n"
    "  --socket PATH           unix socket to listen on (clients: sim:unix:PATH)\n"
    "  --image DIR             measure this guest image\n"
    "  --vm-config FILE        JSON that describes the machine (default: 1 CPU, 2 GiB)\n"
    "  --write-vm-config FILE  write what belongs into attestations: vm_config with the image's\n"
    "                          measurement document\n"
    "  --measurements FILE     registers and events as `dstack measure tdx --json` prints them\n"
    "  --state FILE            keep the registers there: a restart goes on with them\n"
    "  --fresh                 start with RTMR3 zero although the state file exists\n";

typedef struct arguments {
    const char *init, *seed, *keys, *socket, *image, *vm_config, *write_vm_config, *measurements,
        *state;
    bool fresh, help;
} arguments;

static const struct option long_options[] = {
    {"init", required_argument, NULL, 'i'},
    {"seed", required_argument, NULL, 's'},
    {"keys", required_argument, NULL, 'k'},
    {"socket", required_argument, NULL, 'S'},
    {"image", required_argument, NULL, 'I'},
    {"vm-config", required_argument, NULL, 'c'},
    {"write-vm-config", required_argument, NULL, 'w'},
    {"measurements", required_argument, NULL, 'm'},
    {"state", required_argument, NULL, 't'},
    {"fresh", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool parse_arguments(int argc, char **argv, arguments *out) {
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        switch (option) {
        case 'i':
            out->init = optarg;
            break;
        case 's':
            out->seed = optarg;
            break;
        case 'k':
            out->keys = optarg;
            break;
        case 'S':
            out->socket = optarg;
            break;
        case 'I':
            out->image = optarg;
            break;
        case 'c':
            out->vm_config = optarg;
            break;
        case 'w':
            out->write_vm_config = optarg;
            break;
        case 'm':
            out->measurements = optarg;
            break;
        case 't':
            out->state = optarg;
            break;
        case 'f':
            out->fresh = true;
            break;
        case 'h':
            out->help = true;
            break;
        default:
            return false;
        }
    }
    const bool serves = out->keys != NULL && out->socket != NULL &&
                        (out->image != NULL) != (out->measurements != NULL);
    return optind == argc && (out->help || out->init != NULL || serves);
}

static int run_init(const arguments *args, dstack_error *err) {
    uint8_t seed[SIM_SEED_SIZE], hash[32];
    char hex[65];
    int rc = args->seed != NULL ? hex_decode_fixed(args->seed, seed, sizeof seed, err) : 0;
    if (rc != 0) {
        return error_prefix(err, rc, "--seed");
    }
    rc = sim_keys_init(args->init, args->seed != NULL ? seed : NULL, clock_unix(), err);
    explicit_bzero(seed, sizeof seed);
    DSTACK_AUTO(sim_keys) sim_keys *keys = NULL;
    if (rc != 0 || (rc = sim_keys_load(args->init, &keys, err)) != 0) {
        return rc;
    }
    sim_keys_root_hash(keys, hash);
    hex_encode(bytes_of(hash, sizeof hash), hex);
    printf("dstack.sim_root=%s\n", hex);
    return 0;
}

static json_t *read_json(const char *path, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    return file_read(path, JSON_LIMIT, &text, err) != 0
               ? NULL
               : json_parse(bytes_of_buf(&text), JSON_LIMIT, path, err);
}

static int status_of(const dstack_error *err) {
    return err->status != 0 ? (int)err->status : DSTACK_E_INTERNAL;
}

/* The file's object, or a machine of one CPU and 2 GiB. */
static json_t *machine(const arguments *args, dstack_error *err) {
    return args->vm_config != NULL ? read_json(args->vm_config, err)
                                   : json_pack("{s:i, s:I, s:s, s:i, s:b}", "cpu_count", 1,
                                               "memory_size", (json_int_t)1 << 31, "qemu_version",
                                               "10.0.2", "num_nics", 0, "hotplug_off", 1);
}

/* Adds the image's identity and measurement material: the lite scheme's vm_config. */
static int add_material(json_t *config, const arguments *args, const dstack_image *image,
                        dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0}, checksums = {0}, document = {0}, a = {0}, b = {0};
    buf_put_fmt(&path, "%s/sha256sum.txt", args->image);
    const char *text = buf_text(&path);
    int rc = text == NULL ? buf_check(&path, err) : file_read(text, JSON_LIMIT, &checksums, err);
    if (rc != 0 || (rc = dstack_measure_document(image, &document, err)) != 0) {
        return rc;
    }
    base64_encode(bytes_of_buf(&checksums), BASE64_STANDARD, &a);
    base64_encode(bytes_of_buf(&document), BASE64_STANDARD, &b);
    const char *checksum_text = buf_text(&a), *document_text = buf_text(&b);
    if (checksum_text == NULL || document_text == NULL ||
        json_object_set_new(config, "os_image_hash", json_string(image->os_image_hash)) != 0 ||
        json_object_set_new(config, "ovmf_variant", json_string("pre202505")) != 0 ||
        json_object_set_new(config, "tdx_attestation_variant", json_string("lite")) != 0 ||
        json_object_set_new(config, "tdx_measurement",
                            json_pack("{s:s, s:s}", "checksum_file", checksum_text, "measurement",
                                      document_text)) != 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return 0;
}

static int write_vm_config(const char *path, const json_t *config, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const int rc = json_write(config, false, &text, err);
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0644, err);
}

/* A process has no machine under it: it measures as the machine that its vm_config describes would. */
static int measure_image(const arguments *args, const dstack_image *image, dstack_measurements *out,
                         dstack_error *err) {
    DSTACK_AUTO(json) json_t *config = machine(args, err);
    if (config == NULL) {
        return status_of(err);
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_vm_config parsed = {0};
    int rc;
    if ((rc = json_write(config, false, &text, err)) != 0 ||
        (rc = dstack_vm_config_parse(bytes_of_buf(&text), &parsed, err)) != 0) {
        return rc;
    }
    rc = dstack_measure_tdx(image, &parsed.shape, out, err);
    dstack_vm_config_clear(&parsed);
    if (rc == 0 && args->write_vm_config != NULL) {
        rc = add_material(config, args, image, err);
        rc = rc != 0 ? rc : write_vm_config(args->write_vm_config, config, err);
    }
    return rc;
}

static int measure(const arguments *args, dstack_measurements *out, dstack_error *err) {
    if (args->image != NULL) {
        dstack_image image = {0};
        int rc = dstack_image_load(args->image, &image, err);
        if (rc == 0) {
            rc = measure_image(args, &image, out, err);
        }
        dstack_image_clear(&image);
        return rc;
    }
    DSTACK_AUTO(json) json_t *object = read_json(args->measurements, err);
    return object == NULL ? status_of(err) : measure_from_json(object, out, err);
}

/* Goes on with a state file of the same image; starts anew otherwise. */
static int open_vm(const arguments *args, const sim_keys *keys, const dstack_measurements *measured,
                   sim_vm **out, dstack_error *err) {
    if (args->state != NULL && !args->fresh && access(args->state, F_OK) == 0) {
        DSTACK_AUTO(sim_vm) sim_vm *vm = NULL;
        const int rc = sim_vm_resume(keys, args->state, &vm, err);
        if (rc != 0) {
            return rc;
        }
        const dstack_tee_info *info = sim_vm_info(vm);
        if (memcmp(info->mrtd, measured->mrtd, sizeof info->mrtd) == 0 &&
            memcmp(info->rtmr, measured->rtmr, 2 * sizeof *info->rtmr) == 0) {
            *out = vm;
            vm = NULL;
            return 0;
        }
    }
    return sim_vm_start(keys, measured, NULL, args->state, out, err);
}

static int run_serve(const arguments *args, dstack_error *err) {
    DSTACK_AUTO(sim_keys) sim_keys *keys = NULL;
    DSTACK_AUTO(sim_vm) sim_vm *vm = NULL;
    dstack_measurements measured;
    int rc;
    if ((rc = sim_keys_load(args->keys, &keys, err)) != 0 ||
        (rc = measure(args, &measured, err)) != 0 ||
        (rc = open_vm(args, keys, &measured, &vm, err)) != 0) {
        return rc;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    DSTACK_AUTO(fd) int stop = signalfd(-1, &signals, SFD_CLOEXEC);
    if (stop < 0) {
        return error_set_errno(err, DSTACK_E_IO, "signalfd");
    }
    return sim_serve_socket(vm, args->socket, stop, err);
}

static int exit_code(int status) {
    switch (status) {
    case 0:
        return EXIT_DONE;
    case DSTACK_E_ARGUMENT:
        return EXIT_USAGE;
    case DSTACK_E_NOT_FOUND:
    case DSTACK_E_IO:
    case DSTACK_E_NETWORK:
    case DSTACK_E_MEMORY:
        return EXIT_ENVIRONMENT;
    default:
        return EXIT_REFUSED;
    }
}

int sim_command(int argc, char **argv) {
    arguments args = {0};
    if (!parse_arguments(argc, argv, &args)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (args.help) {
        fputs(usage, stdout);
        return EXIT_DONE;
    }
    dstack_error err = {0};
    const int rc = args.init != NULL ? run_init(&args, &err) : run_serve(&args, &err);
    if (rc != 0) {
        fprintf(stderr, "dstack-vmm: simulate-tee: %s\n", err.message);
    }
    return exit_code(rc);
}
