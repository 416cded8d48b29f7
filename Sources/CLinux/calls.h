/* Linux's own calls, which Swift cannot make itself, since `syscall` takes any number of arguments; what the C library
   knows of the processor; and an instruction that Swift has no name for. */
#include <linux/futex.h>
#include <sys/platform/x86.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sleeps if *word is still `value`, until somebody wakes sleepers; may also return for no reason. */
static inline void futex_wait(const void *word, int value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

/* Wakes up to `count` threads that sleep on a word. */
static inline void futex_wake(const void *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Sets a bit of `mask` for each processor that this thread may run on. Returns how many bytes of it are set, or -1
   where the system's masks are longer than `size` bytes. */
static inline long affinity_mask(void *mask, size_t size) { return syscall(SYS_sched_getaffinity, 0, size, mask); }

/* Has a line of memory fetched into the L2 cache while this thread goes on. It may be any address. */
static inline void fetch(const void *memory) { __builtin_prefetch(memory, 0, 2); }

/* The same for a line that it writes next, into the L1 cache. */
static inline void fetch_to_write(const void *memory) { __builtin_prefetch(memory, 1, 3); }
