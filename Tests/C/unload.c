/* A program that takes the library for a plugin: each thread loads it, calls it, lets it go, and ends. */
#include <dlfcn.h>
#include <plp.h>
#include <pthread.h>
#include <stdio.h>

static void *use(void *failed)
{
    void *library = dlopen("libplp.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return failed;
    plp_status (*create)(const plp_model_options *, plp_model **) = dlsym(library, "plp_model_create");
    const char *(*message)(void) = dlsym(library, "plp_last_error_message");
    plp_model_options options = {.struct_size = 1};
    plp_model *model = NULL;
    if (create(&options, &model) != PLP_ERROR_INVALID_ARGUMENT || !message()[0] || dlclose(library))
        return failed;
    return NULL;
}

int main(void)
{
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        void *result;
        if (pthread_create(&thread, NULL, use, "failed") || pthread_join(thread, &result) || result) {
            fprintf(stderr, "unload: thread %d failed\n", i);
            return 1;
        }
    }
    return 0;
}
