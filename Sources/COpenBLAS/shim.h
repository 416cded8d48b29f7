#include <cblas.h>
#include <stddef.h>

/* OpenBLAS's own count of the threads that a call may take. For counts that it knows, openblas_set_num_threads sets this
   and starts the threads where there are none, as in a forked child; where the system refuses one, it prints and raises
   SIGINT. Weak, since it is no part of OpenBLAS's interface. */
extern int blas_cpu_number __attribute__((weak));

/* Lets calls take `count` threads: one, or what openblas_get_num_threads has told. */
static inline void openblas_let_threads(int count) {
    if (&blas_cpu_number != NULL)
        blas_cpu_number = count;
    else
        openblas_set_num_threads(count);
}
