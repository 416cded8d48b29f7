#include <cblas.h>
#include <stddef.h>

/* OpenBLAS's own count of the threads that a call may take. For counts that it knows, openblas_set_num_threads sets this
   and starts the threads where there are none, as in a forked child; where the system refuses one, it prints and raises
   SIGINT. Weak, since it is no part of OpenBLAS's interface. */
extern int blas_cpu_number __attribute__((weak));

/* The memory that each call takes while it computes, kept for later ones; where the system refuses it, the call tries for
   ever. These are what calls themselves take and return it by. */
extern void *blas_memory_alloc(int) __attribute__((weak));
extern void blas_memory_free(void *) __attribute__((weak));

/* Has memory ready for `count` calls at a time. */
static inline void openblas_reserve(int count) {
    if (count == 0 || blas_memory_alloc == NULL || blas_memory_free == NULL) return;
    void *memory = blas_memory_alloc(0);
    openblas_reserve(count - 1);
    blas_memory_free(memory);
}

/* Lets calls take `count` threads: one, or what openblas_get_num_threads has told. */
static inline void openblas_let_threads(int count) {
    if (&blas_cpu_number != NULL)
        blas_cpu_number = count;
    else
        openblas_set_num_threads(count);
}
