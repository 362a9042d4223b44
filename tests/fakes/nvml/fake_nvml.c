/* A stand-in for libnvidia-ml.so.1: the GPUs of a text file, read again at every call.
 *
 *   gcc -shared -fPIC -O1 -Wall -Werror -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 fake_nvml.c
 *   FAKE_NVML=FILE LD_LIBRARY_PATH=DIR program
 *
 * A line describes one thing; words are separated by single blanks, '_' in a name stands for a blank:
 *   init CODE                                             nvmlInit answers CODE (9 = driver not loaded)
 *   gpu UUID NAME TOTAL_MIB USED_MIB RESERVED_MIB UTIL    a GPU; UTIL -1 = the driver does not tell
 *   lost                                                  the GPU above is lost
 *   slice UUID NAME TOTAL_MIB USED_MIB                    the GPU above is partitioned and has this slice
 *   process PID USED_MIB                                  on the GPU or slice above; -1 = the driver does not tell
 *   old                                                   the driver lacks the second memory call
 * A handle is the number of the thing in the file, from 1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15 };
enum { THINGS = 64, PROCESSES = 16 };

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;
typedef struct {
    char uuid[96], name[96];
    long long total, used, reserved;
    int util, lost, parent, slices, process_count;
    Process processes[PROCESSES];
} Thing;

static Thing things[THINGS + 1];
static int count, init_code, old_driver;

static void read_state(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    long long pid, used;
    int gpu = 0;
    count = init_code = old_driver = 0;
    if (!file) { init_code = 9; return; }
    while (fgets(line, sizeof line, file) && count < THINGS) {
        Thing next = {.util = -1};
        Thing *last = &things[count];
        if (sscanf(line, "gpu %95s %95s %lld %lld %lld %d", next.uuid, next.name, &next.total, &next.used, &next.reserved,
                   &next.util) == 6) {
            things[++count] = next;
            gpu = count;
        } else if (sscanf(line, "slice %95s %95s %lld %lld", next.uuid, next.name, &next.total, &next.used) == 4) {
            next.parent = gpu;
            things[gpu].slices++;
            things[++count] = next;
        } else if (sscanf(line, "process %lld %lld", &pid, &used) == 2 && last->process_count < PROCESSES) {
            last->processes[last->process_count++] =
                (Process){(unsigned)pid, used < 0 ? ~0ULL : (unsigned long long)used << 20, ~0u, ~0u};
        } else if (!strncmp(line, "lost", 4)) {
            last->lost = 1;
        } else if (!strncmp(line, "old", 3)) {
            old_driver = 1;
        } else {
            sscanf(line, "init %d", &init_code);
        }
    }
    fclose(file);
    for (int i = 1; i <= count; i++)
        for (char *c = things[i].name; *c; c++)
            if (*c == '_') *c = ' ';
}

static int find(void *handle, Thing **thing) {
    intptr_t number = (intptr_t)handle;
    read_state();
    if (number < 1 || number > count) return INVALID;
    *thing = &things[number];
    return (*thing)->lost ? LOST : SUCCESS;
}

#define THING(handle) Thing *thing; int code = find(handle, &thing); if (code) return code

static int text(const char *from, char *to, unsigned size) {
    if (strlen(from) + 1 > size) return TOO_SMALL;
    strcpy(to, from);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; read_state(); return init_code; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : "error"; }

int nvmlDeviceGetCount_v2(unsigned *gpus) {
    read_state();
    *gpus = 0;
    for (int i = 1; i <= count; i++) *gpus += !things[i].parent;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    read_state();
    for (int i = 1; i <= count; i++)
        if (!things[i].parent && index-- == 0) { *handle = (void *)(intptr_t)i; return things[i].lost ? LOST : SUCCESS; }
    return INVALID;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    THING(handle);
    *current = *pending = thing->slices > 0;
    return thing->slices ? SUCCESS : UNSUPPORTED;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *slots) { THING(handle); *slots = 7; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **slice) {
    THING(handle);
    for (int i = 1; i <= count; i++)
        if (things[i].parent == (int)(intptr_t)handle && index-- == 0) { *slice = (void *)(intptr_t)i; return SUCCESS; }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *to, unsigned size) { THING(handle); return text(thing->uuid, to, size); }
int nvmlDeviceGetName(void *handle, char *to, unsigned size) { THING(handle); return text(thing->name, to, size); }

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory) {
    THING(handle);
    memory[0] = (unsigned long long)thing->total << 20;
    memory[1] = (unsigned long long)(thing->total - thing->used - thing->reserved) << 20;
    memory[2] = (unsigned long long)(thing->used + thing->reserved) << 20;
    return SUCCESS;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;

int nvmlDeviceGetMemoryInfo_v2(void *handle, Memory *memory) {
    THING(handle);
    if (old_driver) return UNSUPPORTED;
    memory->total = (unsigned long long)thing->total << 20;
    memory->reserved = (unsigned long long)thing->reserved << 20;
    memory->used = (unsigned long long)thing->used << 20;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
    THING(handle);
    if (thing->util < 0) return UNSUPPORTED;
    rates[0] = (unsigned)thing->util;
    rates[1] = 0;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    THING(handle);
    *major = 9;
    *minor = 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *size, Process *processes) {
    THING(handle);
    unsigned room = *size;
    *size = (unsigned)thing->process_count;
    if (room < *size) return TOO_SMALL;
    memcpy(processes, thing->processes, *size * sizeof(Process));
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *size, Process *processes) {
    THING(handle);
    (void)processes;
    *size = 0;
    return SUCCESS;
}
