/*
 * The C ABI from a C program: what each call does, and every way in which a caller can be wrong. Run under sanitizers and
 * without them: see run.sh and sanitized.sh. Usage: test FOLDER [threads]; the folder is an empty one for files, and the word
 * chooses what several threads do, for the thread sanitizer.
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMAGE = 3 * 32 * 32 };

/* A handle that no call has given out; out-parameters start as this and must stay so on failure. */
#define FOREIGN(type) ((type *)(uintptr_t)0x7eadbeef)

static const char *folder;

/* The path of a file in the test's folder. One at a time. */
static const char *file(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t count)
{
    FILE *stream = fopen(path, "wb");
    CHECK(stream && fwrite(bytes, 1, count, stream) == count && !fclose(stream));
}

static long file_size(const char *path)
{
    struct stat status;
    return stat(path, &status) ? -1 : (long)status.st_size;
}

/* The library's flushes come here, so that file systems can be played that answer as this one does not: `answer` is
   what flushing a folder fails with, if not 0. Where `killed_in_a_save` is set, flushing a file ends the process. */
static int answer;
static bool killed_in_a_save;

int fsync(int number)
{
    struct stat status;
    if (!fstat(number, &status) && answer && S_ISDIR(status.st_mode))
        return errno = answer, -1;
    if (killed_in_a_save)
        raise(SIGKILL);
    return (int)syscall(SYS_fsync, number);
}

/* ---- Versions, messages, the process ----------------------------------------------------------------------------- */

static void *message_of_a_new_thread(void *message)
{
    CHECK(!strcmp(plp_last_error_message(), ""));
    INVALID(plp_dataset_synthetic(PLP_SPLIT_TRAIN, 0, 0, (plp_dataset **)message), "count");
    return NULL;
}

static void test_process(void)
{
    CHECK(!strcmp(plp_last_error_message(), ""));
    CHECK(!strcmp(plp_version(), PLP_VERSION));
    CHECK(strstr(plp_build_info(), "version: " PLP_VERSION));

    /* Each thread has its own message. */
    plp_dataset *dataset = NULL;
    INVALID(plp_model_load(NULL, (plp_model **)&dataset), "path");
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, message_of_a_new_thread, &dataset) && !pthread_join(thread, NULL));
    CHECK(strstr(plp_last_error_message(), "path"));

    /* What the system refuses comes with its number and the file's name; nothing else does. */
    CHECK(plp_last_error_number() == 0 && !plp_last_error_path());
    FAILS(plp_model_load("/no such file", (plp_model **)&dataset), PLP_ERROR_NOT_FOUND, "/no such file: No such file");
    CHECK(plp_last_error_number() == ENOENT && !strcmp(plp_last_error_path(), "/no such file"));
    FAILS(plp_model_load("/", (plp_model **)&dataset), PLP_ERROR_IO, "/: found a folder, expected a regular file");
    CHECK(plp_last_error_number() == EISDIR && !strcmp(plp_last_error_path(), "/"));
    INVALID(plp_model_load(NULL, (plp_model **)&dataset), "path");
    CHECK(plp_last_error_number() == 0 && !plp_last_error_path());
}

/* The library installs no signal handler. Sanitizers do, so only a build without them can tell. */
static void test_signals(void)
{
#ifndef SANITIZED
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        if (!sigaction(number, NULL, &action))
            CHECK(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
    }
#endif
}

/* ---- Datasets ---------------------------------------------------------------------------------------------------- */

static plp_dataset *synthetic(plp_split split, int64_t count)
{
    plp_dataset *dataset = NULL;
    OK(plp_dataset_synthetic(split, count, 7, &dataset));
    return dataset;
}

static void test_synthetic(void)
{
    plp_dataset *one = synthetic(PLP_SPLIT_TRAIN, 50), *same = synthetic(PLP_SPLIT_TRAIN, 50);
    plp_dataset *test = synthetic(PLP_SPLIT_TEST, 50);
    plp_dataset_info first = {.struct_size = sizeof first}, second = first, third = first;
    OK(plp_dataset_describe(one, &first));
    OK(plp_dataset_describe(same, &second));
    OK(plp_dataset_describe(test, &third));
    CHECK(first.count == 50 && first.classes == 100 && *first.name);
    CHECK(!memcmp(first.images, second.images, 50 * IMAGE));
    CHECK(!memcmp(first.labels, second.labels, 50 * sizeof *first.labels));
    CHECK(memcmp(first.images, third.images, 50 * IMAGE));

    plp_dataset *none = FOREIGN(plp_dataset);
    INVALID(plp_dataset_synthetic(PLP_SPLIT_TRAIN, 0, 0, &none), "count: found 0");
    INVALID(plp_dataset_synthetic(PLP_SPLIT_TRAIN, -1, 0, &none), "count: found -1");
    INVALID(plp_dataset_synthetic(PLP_SPLIT_TRAIN, INT64_MAX, 0, &none), "count");
    INVALID(plp_dataset_synthetic((plp_split)7, 1, 0, &none), "split: found 7");
    INVALID(plp_dataset_synthetic(PLP_SPLIT_TRAIN, 1, 0, NULL), "dataset: found NULL");
    CHECK(none == FOREIGN(plp_dataset));
    plp_dataset_free(test);
    plp_dataset_free(same);
    plp_dataset_free(one);
}

static void test_arrays(void)
{
    enum { COUNT = 3 };
    uint8_t images[COUNT * IMAGE];
    int32_t labels[COUNT] = {0, 4, 2};
    for (size_t i = 0; i < sizeof images; i++)
        images[i] = (uint8_t)(i * 7);
    plp_dataset *dataset = NULL;
    OK(plp_dataset_from_arrays(images, labels, COUNT, 32, 5, NULL, &dataset));
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(dataset, &info));
    CHECK(info.count == COUNT && info.classes == 5 && info.image_size == 32 && !strcmp(info.name, "images"));
    plp_dataset *named = NULL;
    OK(plp_dataset_from_arrays(images, labels, COUNT, 32, 5, "mine", &named));
    OK(plp_dataset_describe(named, &info));
    CHECK(!strcmp(info.name, "mine"));
    plp_dataset_free(named);
    OK(plp_dataset_describe(dataset, &info));
    CHECK(info.images != images && !memcmp(info.images, images, sizeof images));
    CHECK(info.labels != labels && !memcmp(info.labels, labels, sizeof labels));
    const char *name = "untouched";
    OK(plp_dataset_label_name(dataset, 4, &name));
    CHECK(!name);

    plp_dataset *none = FOREIGN(plp_dataset);
    INVALID(plp_dataset_from_arrays(NULL, labels, COUNT, 32, 5, NULL, &none), "images: found NULL");
    INVALID(plp_dataset_from_arrays(images, NULL, COUNT, 32, 5, NULL, &none), "labels: found NULL");
    INVALID(plp_dataset_from_arrays(images, labels, 0, 32, 5, NULL, &none), "count");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 15, 5, NULL, &none), "image size: found 15");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 97, 5, NULL, &none), "image size: found 97");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, INT64_MIN, 5, NULL, &none), "image size: found -92");
    INVALID(plp_dataset_from_arrays(images, labels, -3, 32, 5, NULL, &none), "count: found -3");
    INVALID(plp_dataset_from_arrays(images, labels, INT64_MAX / 2, 32, 5, NULL, &none), "count");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, 4, NULL, &none), "label 4");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, 0, NULL, &none), "0 classes");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, -1, NULL, &none), "-1 classes");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, INT64_MAX, NULL, &none),
            "images: found 9223372036854775807 classes, expected 1 to 2,147,483,647");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, 5, "", &none), "name: found an empty string");
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, 5, "\xff", &none), "name: ");
    labels[1] = -1;
    INVALID(plp_dataset_from_arrays(images, labels, COUNT, 32, 5, NULL, &none), "label -1");
    CHECK(none == FOREIGN(plp_dataset));

    name = "untouched";
    INVALID(plp_dataset_label_name(dataset, 5, &name), "label: found 5");
    INVALID(plp_dataset_label_name(dataset, -1, &name), "label: found -1");
    INVALID(plp_dataset_label_name(dataset, 0, NULL), "name: found NULL");
    CHECK(!strcmp(name, "untouched"));
    plp_dataset_free(dataset);
}

/* CIFAR-10's binary layout is 10,000 records of a label and an image; a made-up one, whole and damaged. */
static void test_files(void)
{
    enum { RECORD = 1 + IMAGE, COUNT = 10000 };
    uint8_t *records = calloc(COUNT, RECORD);
    for (int record = 0; record < COUNT; record++)
        records[(size_t)record * RECORD] = (uint8_t)(record % 10);
    write_file(file("test_batch.bin"), records, (size_t)COUNT * RECORD);
    plp_dataset *dataset = NULL;
    OK(plp_dataset_cifar10(folder, PLP_SPLIT_TEST, &dataset));
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(dataset, &info));
    CHECK(info.count == COUNT && info.classes == 10 && info.labels[COUNT - 1] == 9);

    plp_dataset *none = FOREIGN(plp_dataset);
    records[(size_t)17 * RECORD] = 10;
    write_file(file("test_batch.bin"), records, (size_t)COUNT * RECORD);
    FAILS(plp_dataset_cifar10(folder, PLP_SPLIT_TEST, &none), PLP_ERROR_CORRUPT, "test_batch.bin");
    write_file(file("test_batch.bin"), records, (size_t)COUNT * RECORD - 1);
    FAILS(plp_dataset_cifar10(folder, PLP_SPLIT_TEST, &none), PLP_ERROR_CORRUPT, "test_batch.bin");
    FAILS(plp_dataset_cifar10(folder, PLP_SPLIT_TRAIN, &none), PLP_ERROR_NOT_FOUND, folder);
    FAILS(plp_dataset_cifar100(folder, PLP_SPLIT_TEST, PLP_LABELS_FINE, &none), PLP_ERROR_NOT_FOUND, folder);
    FAILS(plp_dataset_cifar100("/no such folder", PLP_SPLIT_TEST, PLP_LABELS_FINE, &none), PLP_ERROR_NOT_FOUND, "/no such folder");
    INVALID(plp_dataset_cifar100(NULL, PLP_SPLIT_TEST, PLP_LABELS_FINE, &none), "folder: found NULL");
    INVALID(plp_dataset_cifar100("\xff\xfe", PLP_SPLIT_TEST, PLP_LABELS_FINE, &none), "UTF-8");
    INVALID(plp_dataset_cifar100(folder, (plp_split)-1, PLP_LABELS_FINE, &none), "split");
    INVALID(plp_dataset_cifar100(folder, PLP_SPLIT_TEST, (plp_cifar100_labels)2, &none), "labels: found 2");
    INVALID(plp_dataset_cifar100(folder, PLP_SPLIT_TEST, PLP_LABELS_FINE, NULL), "dataset: found NULL");
    CHECK(none == FOREIGN(plp_dataset));
    unlink(file("test_batch.bin"));
    free(records);
    plp_dataset_free(dataset);
}

/* The real data, where the environment says where it is. */
static void test_cifar100(void)
{
    const char *data = getenv("PLP_DATA");
    if (!data) {
        printf("skipped: CIFAR-100 itself (PLP_DATA is not set)\n");
        return;
    }
    plp_dataset *dataset = NULL;
    OK(plp_dataset_cifar100(data, PLP_SPLIT_TEST, PLP_LABELS_FINE, &dataset));
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(dataset, &info));
    CHECK(info.count == 10000 && info.classes == 100);
    const char *name = NULL;
    OK(plp_dataset_label_name(dataset, 0, &name));
    CHECK(name && !strcmp(name, "apple"));
    plp_dataset_free(dataset);
}

/* ---- Handles and structs ----------------------------------------------------------------------------------------- */

/* Every function that takes a handle tells NULL, freed, foreign and mistaken ones, and says which kind it wants. */
static void test_handles(plp_dataset *dataset, plp_model *model, plp_trainer *trainer)
{
    plp_dataset_info dataset_info = {.struct_size = sizeof dataset_info};
    plp_model_info model_info = {.struct_size = sizeof model_info};
    plp_history history = {.struct_size = sizeof history};
    plp_entry entry = {.struct_size = sizeof entry};
    plp_epoch epoch = {.struct_size = sizeof epoch};
    plp_profile_entry profile = {.struct_size = sizeof profile};
    plp_metrics metrics = {.count = -7};
    plp_model *no_model = FOREIGN(plp_model);
    plp_trainer *no_trainer = FOREIGN(plp_trainer);
    const char *name = NULL;
    int64_t index = -7;
    uint8_t image[IMAGE] = {0};
    int32_t label = 0;
    float values[100];
    values[0] = -7;

    plp_dataset *freed_dataset = synthetic(PLP_SPLIT_TRAIN, 1);
    plp_dataset_free(freed_dataset);
    plp_dataset_free(freed_dataset);
    plp_model *freed_model = NULL;
    plp_watched record = {.struct_size = sizeof record};
    plp_move move;
    plp_trainer *freed_trainer = NULL;
    plp_model_options small;
    OK(plp_model_options_init(&small, sizeof small));
    small.width = 0.02;
    OK(plp_model_create(&small, &freed_model));
    OK(plp_trainer_create(freed_model, NULL, &freed_trainer));
    plp_model_free(freed_model);
    plp_model_free(freed_model);
    OK(plp_trainer_history(freed_trainer, &history)); /* the trainer keeps its model alive */
    plp_trainer_free(freed_trainer);
    plp_trainer_free(freed_trainer);
    plp_dataset_free(NULL);
    plp_model_free(NULL);
    plp_trainer_free(NULL);

    plp_dataset *datasets[] = {NULL, freed_dataset, FOREIGN(plp_dataset), (plp_dataset *)model, (plp_dataset *)trainer};
    plp_model *models[] = {NULL, freed_model, FOREIGN(plp_model), (plp_model *)dataset, (plp_model *)trainer};
    plp_trainer *trainers[] = {NULL, freed_trainer, FOREIGN(plp_trainer), (plp_trainer *)dataset, (plp_trainer *)model};
    const char *found[] = {"NULL", "freed or foreign", "freed or foreign", "", ""};
    for (int i = 0; i < 5; i++) {
        INVALID(plp_dataset_describe(datasets[i], &dataset_info), "dataset: ");
        CHECK(strstr(plp_last_error_message(), found[i]));
        INVALID(plp_dataset_label_name(datasets[i], 0, &name), "dataset: ");
        INVALID(plp_trainer_fit(trainer, datasets[i], NULL), "train: ");
        INVALID(plp_model_evaluate(model, datasets[i], 0, NULL, NULL, &metrics), "dataset: ");
        INVALID(plp_trainer_evaluate(trainer, datasets[i], NULL, NULL, &metrics), "dataset: ");

        INVALID(plp_model_describe(models[i], &model_info), "model: ");
        CHECK(strstr(plp_last_error_message(), found[i]));
        INVALID(plp_model_save(models[i], file("never")), "model: ");
        INVALID(plp_model_entry(models[i], 0, &entry), "model: ");
        INVALID(plp_model_find_entry(models[i], "conv1.0.weight", &index), "model: ");
        INVALID(plp_model_get_values(models[i], 0, values, sizeof values), "model: ");
        INVALID(plp_model_set_values(models[i], 0, values, sizeof values), "model: ");
        INVALID(plp_model_get_state(models[i], NULL, NULL), "model: ");
        INVALID(plp_model_set_state(models[i], NULL, NULL), "model: ");
        INVALID(plp_model_logits(models[i], image, PLP_UINT8, 1, 1, values), "model: ");
        INVALID(plp_trainer_create(models[i], NULL, &no_trainer), "model: ");

        INVALID(plp_trainer_fit(trainers[i], dataset, NULL), "trainer: ");
        CHECK(strstr(plp_last_error_message(), found[i]));
        INVALID(plp_trainer_step(trainers[i], image, PLP_UINT8, &label, 1, &metrics), "trainer: ");
        INVALID(plp_trainer_gradients(trainers[i], image, PLP_UINT8, &label, 1, &metrics, NULL, 0), "trainer: ");
        INVALID(plp_trainer_get_gradient(trainers[i], 0, values, sizeof values), "trainer: ");
        INVALID(plp_trainer_evaluate(trainers[i], dataset, NULL, NULL, &metrics), "trainer: ");
        INVALID(plp_trainer_best_model(trainers[i], &no_model), "trainer: ");
        INVALID(plp_trainer_history(trainers[i], &history), "trainer: ");
        INVALID(plp_trainer_epochs(trainers[i], &history, &epoch, 1), "trainer: ");
        INVALID(plp_trainer_save(trainers[i], file("never")), "trainer: ");
        INVALID(plp_trainer_restore(trainers[i], file("never")), "trainer: ");
        INVALID(plp_trainer_profile_count(trainers[i], &index), "trainer: ");
        INVALID(plp_trainer_profile(trainers[i], 0, 1, &profile), "trainer: ");
        INVALID(plp_trainer_watched(trainers[i], &record), "trainer: ");
        INVALID(plp_trainer_records(trainers[i], &record, &move, &index, values), "trainer: ");
    }
    CHECK(no_model == FOREIGN(plp_model) && no_trainer == FOREIGN(plp_trainer));
    CHECK(!name && index == -7 && metrics.count == -7 && values[0] == -7);
    CHECK(!dataset_info.images && !model_info.classes);
    CHECK(file_size(file("never")) == -1);
}

/* NULL pointers, and structs of a size that no version has had. */
static void test_structs(plp_dataset *dataset, plp_model *model, plp_trainer *trainer)
{
#define SIZED(type, call)                                                                     \
    do {                                                                                      \
        type value = {.struct_size = sizeof value - 1}, *pointer = &value;                    \
        INVALID(call, #type ".struct_size: ");                                                \
        value.struct_size = 0;                                                                \
        INVALID(call, #type ".struct_size: found 0");                                         \
        value.struct_size = SIZE_MAX;                                                         \
        INVALID(call, #type ".struct_size: ");                                                \
        pointer = NULL;                                                                       \
        INVALID(call, ": found NULL");                                                        \
    } while (0)
    SIZED(plp_dataset_info, plp_dataset_describe(dataset, pointer));
    SIZED(plp_model_info, plp_model_describe(model, pointer));
    SIZED(plp_entry, plp_model_entry(model, 0, pointer));
    SIZED(plp_history, plp_trainer_history(trainer, pointer));
    SIZED(plp_history, plp_trainer_epochs(trainer, pointer, NULL, 0));
    SIZED(plp_profile_entry, plp_trainer_profile(trainer, 0, 1, pointer));
#define OPTIONS(type, call)                                                                   \
    do {                                                                                      \
        type value;                                                                           \
        memset(&value, 0x5a, sizeof value);                                                   \
        type before = value;                                                                  \
        INVALID(type##_init(&value, sizeof value - 8), #type ".struct_size");                 \
        INVALID(type##_init(&value, 0), "found");                                             \
        CHECK(!memcmp(&value, &before, sizeof value));                                        \
        INVALID(type##_init(NULL, sizeof value), "options: found NULL");                      \
        OK(type##_init(&value, sizeof value));                                                \
        CHECK(value.struct_size == sizeof value);                                             \
        value.struct_size += 8;                                                               \
        INVALID(call, #type ".struct_size");                                                  \
    } while (0)
    plp_model *no_model = FOREIGN(plp_model);
    plp_trainer *no_trainer = FOREIGN(plp_trainer);
    OPTIONS(plp_model_options, plp_model_create(&value, &no_model));
    OPTIONS(plp_trainer_options, plp_trainer_create(model, &value, &no_trainer));
    OPTIONS(plp_fit_options, plp_trainer_fit(trainer, dataset, &value));
    CHECK(no_model == FOREIGN(plp_model) && no_trainer == FOREIGN(plp_trainer));

    INVALID(plp_model_create(NULL, NULL), "model: found NULL");
    INVALID(plp_model_load(file("never"), NULL), "model: found NULL");
    INVALID(plp_model_save(model, NULL), "path: found NULL");
    INVALID(plp_trainer_create(model, NULL, NULL), "trainer: found NULL");
    INVALID(plp_trainer_best_model(trainer, NULL), "model: found NULL");
    INVALID(plp_trainer_save(trainer, NULL), "path: found NULL");
    INVALID(plp_trainer_restore(trainer, NULL), "path: found NULL");
    INVALID(plp_trainer_evaluate(trainer, dataset, NULL, NULL, NULL), "metrics: found NULL");
    INVALID(plp_trainer_profile_count(trainer, NULL), "count: found NULL");
}

/* ---- Models ------------------------------------------------------------------------------------------------------ */

static plp_model_options small_network(void)
{
    plp_model_options options;
    OK(plp_model_options_init(&options, sizeof options));
    options.width = 0.05;
    options.seed = 3;
    return options;
}

static plp_model *small_model(void)
{
    plp_model_options options = small_network();
    plp_model *model = NULL;
    OK(plp_model_create(&options, &model));
    return model;
}

static void test_model_options(void)
{
    plp_model_options defaults;
    OK(plp_model_options_init(&defaults, sizeof defaults));
    CHECK(!strcmp(defaults.architecture, "resnet18") && defaults.classes == 100 && defaults.width == 1);
    CHECK(!defaults.dropout && !defaults.channel_count_epsilons && defaults.seed == 0);
    plp_model *none = FOREIGN(plp_model);
    double dropout;
#define BAD(field, value, text)                         \
    do {                                                \
        plp_model_options options = defaults;           \
        options.field = value;                          \
        INVALID(plp_model_create(&options, &none), text); \
    } while (0)
    BAD(architecture, NULL, "architecture: found NULL");
    BAD(architecture, "resnet19", "\"resnet19\"");
    BAD(architecture, "\xc3", "UTF-8");
    BAD(classes, 0, "classes");
    BAD(classes, -1, "classes");
    BAD(classes, 1000000000, "classes");
    BAD(classes, INT64_MAX, "classes");
    BAD(image_size, 15, "image size of resnet18: found 15");
    BAD(image_size, 97, "image size");
    BAD(image_size, INT64_MIN, "image size");
    BAD(width, 0, "width");
    BAD(width, -1, "width");
    BAD(width, NAN, "width");
    BAD(width, INFINITY, "width");
    BAD(width, 1e300, "width");
    BAD(dropout, (dropout = 1, &dropout), "dropout");
    BAD(dropout, (dropout = -0.1, &dropout), "dropout");
    BAD(dropout, (dropout = NAN, &dropout), "dropout");
    BAD(dropout, (dropout = 1e300, &dropout), "dropout");
    BAD(channel_count_epsilons, 1, "resnet18");
    BAD(mean[1], NAN, "mean");
    BAD(deviation[2], 0, "standard deviation");
    BAD(deviation[0], -INFINITY, "standard deviation");
#undef BAD
    CHECK(none == FOREIGN(plp_model));
}

/* Each architecture's size and names, and its configuration given back. */
static void test_architectures(void)
{
    const struct { const char *name; int64_t parameters; const char *entry; } known[] = {
        {"vgg16", 34015396, "classifier.6.bias"},
        {"resnet18", 11220132, "conv2_x.0.residual_function.0.weight"},
        {"googlenet", 6402564, "a3.b1.0.weight"},
    };
    for (int i = 0; i < 3; i++) {
        plp_model_options options;
        OK(plp_model_options_init(&options, sizeof options));
        const double dropout = 0.25;
        options.architecture = known[i].name;
        options.dropout = &dropout;
        options.seed = UINT64_MAX;
        plp_model *model = NULL;
        OK(plp_model_create(&options, &model));
        plp_model_info info = {.struct_size = sizeof info};
        OK(plp_model_describe(model, &info));
        CHECK(!strcmp(info.architecture, known[i].name) && info.parameter_count == known[i].parameters);
        CHECK(info.classes == 100 && info.width == 1 && info.dropout == 0.25 && info.seed == UINT64_MAX);
        CHECK(info.mean[2] == options.mean[2] && info.deviation[0] == options.deviation[0]);
        int64_t index = -1;
        OK(plp_model_find_entry(model, known[i].entry, &index));
        plp_model_free(model);
    }
}

static void test_entries(plp_model *model)
{
    plp_model_info info = {.struct_size = sizeof info};
    OK(plp_model_describe(model, &info));
    int64_t parameters = 0;
    for (int64_t i = 0; i < info.entry_count; i++) {
        plp_entry entry = {.struct_size = sizeof entry};
        OK(plp_model_entry(model, i, &entry));
        int64_t count = 1, index = -1;
        for (int64_t axis = 0; axis < entry.rank; axis++)
            count *= entry.shape[axis];
        CHECK(entry.bytes == (size_t)count * (entry.dtype == PLP_INT64 ? 8 : 4));
        CHECK((entry.dtype == PLP_INT64) == (entry.kind == PLP_ENTRY_COUNTER));
        parameters += entry.kind == PLP_ENTRY_PARAMETER ? count : 0;
        OK(plp_model_find_entry(model, entry.name, &index));
        CHECK(index == i);
    }
    CHECK(parameters == info.parameter_count);

    plp_entry entry = {.struct_size = sizeof entry};
    OK(plp_model_entry(model, 0, &entry));
    CHECK(!strcmp(entry.name, "conv1.0.weight") && entry.rank == 4 && entry.shape[1] == 3 && entry.shape[3] == 3);
    float values[1000], back[1000];
    const size_t bytes = entry.bytes;
    CHECK(bytes <= sizeof values);
    for (int i = 0; i < 1000; i++)
        values[i] = (float)i, back[i] = -7;
    OK(plp_model_set_values(model, 0, values, bytes));
    OK(plp_model_get_values(model, 0, back, bytes));
    CHECK(!memcmp(values, back, bytes) && back[bytes / 4] == -7);

    int64_t counter = -7, set = 1234567890123;
    OK(plp_model_find_entry(model, "conv1.1.num_batches_tracked", &counter));
    OK(plp_model_set_values(model, counter, &set, sizeof set));
    set = 0;
    OK(plp_model_get_values(model, counter, &set, sizeof set));
    CHECK(set == 1234567890123);

    /* Nothing below changes a thing. */
    plp_entry untouched = entry;
    INVALID(plp_model_entry(model, info.entry_count, &entry), "index");
    INVALID(plp_model_entry(model, -1, &entry), "index: found -1");
    INVALID(plp_model_entry(model, INT64_MIN, &entry), "index");
    CHECK(!memcmp(&entry, &untouched, sizeof entry));
    INVALID(plp_model_find_entry(model, "conv9.weight", &counter), "\"conv9.weight\"");
    INVALID(plp_model_find_entry(model, NULL, &counter), "name: found NULL");
    INVALID(plp_model_find_entry(model, "conv1.0.weight", NULL), "index: found NULL");
    const size_t wrong[] = {0, bytes - 1, bytes + 4, SIZE_MAX};
    for (int i = 0; i < 4; i++) {
        INVALID(plp_model_get_values(model, 0, back, wrong[i]), "bytes");
        CHECK(strstr(plp_last_error_message(), "conv1.0.weight"));
        INVALID(plp_model_set_values(model, 0, back, wrong[i]), "bytes");
    }
    INVALID(plp_model_get_values(model, 0, NULL, bytes), "values: found NULL");
    INVALID(plp_model_set_values(model, 0, NULL, bytes), "values: found NULL");
    INVALID(plp_model_get_values(model, -1, back, bytes), "index");
    INVALID(plp_model_set_values(model, info.entry_count, back, bytes), "index");
}

/* An evaluation of 300 images, as its callback saw it; `trainer` is NULL where the model is evaluated by itself. */
typedef struct {
    plp_model *model;
    int calls, stop_after;
    plp_metrics running;
} watched;


static int watch(const plp_progress *progress, void *user_data)
{
    watched *seen = user_data;
    CHECK(progress->phase == PLP_PHASE_TEST && progress->iteration == seen->calls && progress->iterations == 3);
    CHECK(progress->running.count == seen->running.count + progress->batch.count && !progress->finished);
    seen->running = progress->running;
    plp_metrics metrics;
    plp_dataset *dataset = synthetic(PLP_SPLIT_TEST, 1);
    OK(plp_model_evaluate(seen->model, dataset, 1, NULL, NULL, &metrics));
    plp_dataset_free(dataset);
    return ++seen->calls == seen->stop_after;
}

static void test_logits(void)
{
    enum { COUNT = 130 }; /* more than one batch of evaluation */
    plp_model *model = small_model();
    plp_dataset *dataset = synthetic(PLP_SPLIT_TEST, COUNT);
    plp_dataset_info info = {.struct_size = sizeof info};
    plp_model_info network = {.struct_size = sizeof network};
    OK(plp_dataset_describe(dataset, &info));
    OK(plp_model_describe(model, &network));
    float *normalised = malloc(sizeof(float) * COUNT * IMAGE);
    for (int i = 0; i < COUNT * IMAGE; i++) {
        const int channel = i / 1024 % 3;
        normalised[i] = ((float)info.images[i] / 255 - network.mean[channel]) / network.deviation[channel];
    }
    static float bytes[COUNT][100], floats[COUNT][100], one[100];
    OK(plp_model_logits(model, info.images, PLP_UINT8, COUNT, 0, bytes[0]));
    OK(plp_model_logits(model, normalised, PLP_FLOAT32, COUNT, 1, floats[0]));
    OK(plp_model_logits(model, info.images + 129 * IMAGE, PLP_UINT8, 1, 2, one));
    CHECK(!memcmp(bytes, floats, sizeof bytes));
    CHECK(!memcmp(bytes[129], one, sizeof one));
    CHECK(isfinite(one[0]) && one[0] != one[1]);

    one[0] = -7;
    INVALID(plp_model_logits(model, NULL, PLP_UINT8, 1, 0, one), "images: found NULL");
    INVALID(plp_model_logits(model, normalised, PLP_INT64, 1, 0, one), "dtype: found 2");
    INVALID(plp_model_logits(model, normalised, (plp_dtype)99, 1, 0, one), "dtype: found 99");
    INVALID(plp_model_logits(model, normalised, PLP_FLOAT32, 0, 0, one), "count: found 0");
    INVALID(plp_model_logits(model, normalised, PLP_FLOAT32, -1, 0, one), "count: found -1");
    INVALID(plp_model_logits(model, normalised, PLP_FLOAT32, INT64_MAX, 0, one), "count");
    INVALID(plp_model_logits(model, normalised, PLP_FLOAT32, 1, -1, one), "threads: found -1");
    INVALID(plp_model_logits(model, normalised, PLP_FLOAT32, 1, INT64_MAX, one), "threads");
    INVALID(plp_model_logits(model, normalised, PLP_FLOAT32, 1, 0, NULL), "logits: found NULL");
    CHECK(one[0] == -7);
    free(normalised);

    /* What evaluation measures follows from the logits. */
    plp_metrics metrics = {0}, again = {0};
    OK(plp_model_evaluate(model, dataset, 1, NULL, NULL, &metrics));
    OK(plp_model_evaluate(model, dataset, 2, NULL, NULL, &again));
    double loss = 0;
    int errors = 0;
    for (int i = 0; i < COUNT; i++) {
        const float *logits = bytes[i], own = logits[info.labels[i]];
        double sum = 0;
        bool first = true;
        for (int j = 0; j < 100; j++) {
            sum += exp(logits[j] - own);
            first = first && (j == info.labels[i] || logits[j] < own);
        }
        loss += log(sum) / COUNT;
        errors += !first;
    }
    CHECK(metrics.count == COUNT && metrics.loss == again.loss);
    CHECK(fabs(metrics.loss - loss) < 1e-5 && fabs(metrics.top1_error - (double)errors / COUNT) < 1e-9);
    INVALID(plp_model_evaluate(model, dataset, -1, NULL, NULL, &metrics), "threads: found -1");
    INVALID(plp_model_evaluate(model, dataset, 1, NULL, NULL, NULL), "metrics: found NULL");
    CHECK(metrics.count == COUNT);

    /* It can be watched, and stopped after a mini-batch. */
    plp_dataset *many = synthetic(PLP_SPLIT_TEST, 300);
    watched stopped = {.model = model, .stop_after = 2}, whole = {.model = model, .stop_after = 9};
    OK(plp_model_evaluate(model, many, 1, watch, &stopped, &metrics));
    CHECK(stopped.calls == 2 && metrics.count == 256 && metrics.loss == stopped.running.loss);
    OK(plp_model_evaluate(model, many, 1, watch, &whole, &metrics));
    CHECK(whole.calls == 3 && metrics.count == 300 && metrics.loss == whole.running.loss);
    plp_dataset_free(many);
    plp_dataset_free(dataset);
    plp_model_free(model);
}

/* Images of another size than CIFAR's, from the caller's arrays through training to logits. */
static void test_image_size(void)
{
    enum { COUNT = 6, SIZE = 64, VALUES = 3 * SIZE * SIZE };
    uint8_t *images = malloc(COUNT * VALUES);
    for (int i = 0; i < COUNT * VALUES; i++)
        images[i] = (uint8_t)(i * 7 + i / 1000);
    const int32_t labels[COUNT] = {0, 1, 2, 0, 1, 2};
    plp_dataset *mine = NULL, *others = synthetic(PLP_SPLIT_TEST, COUNT);
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_from_arrays(images, labels, COUNT, SIZE, 3, "mine", &mine));
    OK(plp_dataset_describe(mine, &info));
    CHECK(info.image_size == SIZE && !memcmp(info.images, images, COUNT * VALUES));

    plp_model_options options;
    OK(plp_model_options_init(&options, sizeof options));
    CHECK(options.image_size == 32);
    options.architecture = "vgg16";
    options.image_size = SIZE;
    options.width = 0.1; /* with fewer channels next to nothing of an image reaches the logits */
    plp_model *model = NULL, *none = FOREIGN(plp_model);
    OK(plp_model_create(&options, &model));
    plp_model_info network = {.struct_size = sizeof network};
    OK(plp_model_describe(model, &network));
    CHECK(network.image_size == SIZE);
    options.image_size = 31;
    INVALID(plp_model_create(&options, &none), "image size of vgg16: found 31, expected a whole number from 32 to 96");

    plp_trainer_options training;
    OK(plp_trainer_options_init(&training, sizeof training));
    training.batch_size = 3;
    plp_trainer *trainer = NULL;
    OK(plp_trainer_create(model, &training, &trainer));
    plp_metrics metrics = {0};
    OK(plp_trainer_step(trainer, images, PLP_UINT8, labels, 3, &metrics));
    CHECK(metrics.count == 3);
    OK(plp_trainer_fit(trainer, mine, NULL));
    float logits[COUNT][100];
    OK(plp_model_logits(model, images, PLP_UINT8, COUNT, 0, logits[0]));
    CHECK(isfinite(logits[5][99]) && memcmp(logits[0], logits[1], sizeof logits[0]));
    INVALID(plp_trainer_fit(trainer, others, NULL), "image size of synthetic test: found 32, expected the model's 64");
    INVALID(plp_model_evaluate(model, others, 0, NULL, NULL, &metrics), "image size of synthetic test: found 32");

    plp_trainer_free(trainer);
    plp_model_free(model);
    plp_dataset_free(others);
    plp_dataset_free(mine);
    free(images);
}

/* Two models have the same entries, to the bit. */
static bool equal(const plp_model *one, const plp_model *two)
{
    plp_model_info info = {.struct_size = sizeof info}, other = info;
    OK(plp_model_describe(one, &info));
    OK(plp_model_describe(two, &other));
    bool same = info.entry_count == other.entry_count;
    for (int64_t i = 0; same && i < info.entry_count; i++) {
        plp_entry entry = {.struct_size = sizeof entry};
        OK(plp_model_entry(one, i, &entry));
        void *first = malloc(entry.bytes), *second = malloc(entry.bytes);
        OK(plp_model_get_values(one, i, first, entry.bytes));
        OK(plp_model_get_values(two, i, second, entry.bytes));
        same = !memcmp(first, second, entry.bytes);
        free(first);
        free(second);
    }
    return same;
}

static void test_model_files(plp_model *model)
{
    OK(plp_model_save(model, file("model.safetensors")));
    plp_model *loaded = NULL, *none = FOREIGN(plp_model);
    OK(plp_model_load(file("model.safetensors"), &loaded));
    CHECK(equal(model, loaded));
    plp_model_free(loaded);

    FAILS(plp_model_load(file("missing"), &none), PLP_ERROR_NOT_FOUND, "missing");
    FAILS(plp_model_load(folder, &none), PLP_ERROR_IO, folder);
    FAILS(plp_model_save(model, file("no folder/model")), PLP_ERROR_NOT_FOUND, "no folder");
    INVALID(plp_model_load("", &none), "path");
    CHECK(!mkfifo(file("pipe"), 0600));
    FAILS(plp_model_load(file("pipe"), &none), PLP_ERROR_IO, "pipe: found a named pipe"); /* and is not waited for */
    FAILS(plp_model_save(model, file("pipe")), PLP_ERROR_IO, "pipe: found a named pipe");

    /* The file cut at any of these places, and with any of these bytes changed, is refused or read as what it says. */
    const long size = file_size(file("model.safetensors"));
    uint8_t *bytes = malloc((size_t)size);
    FILE *stream = fopen(file("model.safetensors"), "rb");
    CHECK(stream && fread(bytes, 1, (size_t)size, stream) == (size_t)size && !fclose(stream));
    const long cuts[] = {0, 1, 7, 8, 9, 100, size / 2, size - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        write_file(file("cut"), bytes, (size_t)cuts[i]);
        FAILS(plp_model_load(file("cut"), &none), PLP_ERROR_CORRUPT, "cut");
    }
    for (int place = 0; place < 400; place++) {
        const uint8_t was = bytes[place];
        bytes[place] ^= (uint8_t)(1 + place * 37 % 255);
        write_file(file("changed"), bytes, (size_t)size);
        plp_model *changed = NULL;
        const plp_status status = plp_model_load(file("changed"), &changed);
        CHECK(status == PLP_OK || status == PLP_ERROR_CORRUPT);
        CHECK(!status == !!changed);
        plp_model_free(changed);
        bytes[place] = was;
    }
    free(bytes);
    CHECK(none == FOREIGN(plp_model));
}

/* What permissions forbid, in a folder of the test's, seen from there. They do not bind root: another does it then. */
static void test_permissions(const plp_model *model)
{
    const int home = open(".", O_RDONLY);
    const uid_t bound = getuid() ? getuid() : 65534;
    plp_dataset *none = FOREIGN(plp_dataset);
    struct stat before = {0}, after = {0};
    CHECK(home >= 0 && !chdir(folder) && !mkdir("guarded", 0700));
    OK(plp_model_save(model, "guarded/model"));
    CHECK(!stat("guarded/model", &before));

    /* Who may not write a file does not get it replaced. */
    CHECK(!chmod("guarded", 0777) && !chmod("guarded/model", 0444));
    setfsuid(bound);
    FAILS(plp_model_save(model, "guarded/model"), PLP_ERROR_IO, "guarded/model: Permission denied");
    CHECK(plp_last_error_number() == EACCES);
    setfsuid(getuid());

    /* Files may be made and replaced, but the folder cannot be opened to flush it: the old file stays. */
    CHECK(!chmod("guarded", 0333) && !chmod("guarded/model", 0666));
    setfsuid(bound);
    FAILS(plp_model_save(model, "guarded/model"), PLP_ERROR_IO, "guarded/model: opening its folder failed");
    setfsuid(getuid());
    CHECK(!stat("guarded/model", &after) && after.st_ino == before.st_ino);

    /* A folder that may not be searched is not one without data. */
    CHECK(!chmod("guarded", 0));
    setfsuid(bound);
    FAILS(plp_dataset_cifar100("guarded", PLP_SPLIT_TEST, PLP_LABELS_FINE, &none), PLP_ERROR_IO, "guarded/test.bin: Permission denied");
    FAILS(plp_dataset_cifar10("guarded", PLP_SPLIT_TEST, &none), PLP_ERROR_IO, "guarded/test_batch.bin: Permission");
    setfsuid(getuid());
    CHECK(none == FOREIGN(plp_dataset));

    /* Nothing but the file was left behind. */
    CHECK(!chmod("guarded", 0700) && !unlink("guarded/model") && !rmdir("guarded"));
    CHECK(!fchdir(home) && !close(home));
}

static int count_partial_files(void)
{
    int count = 0;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; (entry = readdir(listing));)
        count += strstr(entry->d_name, ".partial") != NULL;
    closedir(listing);
    return count;
}

/* kill -9 in the middle of a save leaves the old file, and a partial one, which the next save of that file removes. */
static void test_killed_saves(const plp_model *model)
{
    OK(plp_model_save(model, file("killed")));
    for (int kills = 0; kills < 2; kills++) {
        const pid_t child = fork();
        if (child == 0) {
            killed_in_a_save = true;
            plp_model_save(model, file("killed"));
            _exit(0);
        }
        int status = 0;
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        CHECK(count_partial_files() == 1);
        plp_model *old = NULL;
        OK(plp_model_load(file("killed"), &old));
        plp_model_free(old);
    }
    OK(plp_model_save(model, file("another")));
    CHECK(count_partial_files() == 1);
    OK(plp_model_save(model, file("killed")));
    CHECK(count_partial_files() == 0);
}

/* New files have the mode that the process's mask leaves of 0666; those that are replaced keep theirs. */
static void test_modes(const plp_model *model)
{
    const mode_t mask = umask(002);
    struct stat status = {0};
    OK(plp_model_save(model, file("mode")));
    CHECK(!stat(file("mode"), &status) && (status.st_mode & 07777) == 0664);
    umask(077);
    OK(plp_model_save(model, file("mode")));
    CHECK(!stat(file("mode"), &status) && (status.st_mode & 07777) == 0664);
    umask(mask);
}

/* A file system that cannot flush folders is none on which saving fails; where flushing one fails, the caller hears. */
static void test_folders_that_are_not_flushed(const plp_model *model)
{
    answer = EINVAL;
    OK(plp_model_save(model, file("flushed")));
    answer = EIO;
    FAILS(plp_model_save(model, file("not flushed")), PLP_ERROR_IO, "not flushed: holds the new file, but flushing its");
    CHECK(plp_last_error_number() == EIO);
    answer = 0;
    CHECK(file_size(file("not flushed")) > 0 && count_partial_files() == 0);
}

/* ---- Training ---------------------------------------------------------------------------------------------------- */

static plp_predictor_options predictor_options(plp_predictor_kind kind)
{
    plp_predictor_options options;
    OK(plp_predictor_options_init(&options, sizeof options, kind));
    return options;
}

static plp_optimizer_options optimizer_options(plp_optimizer_kind kind)
{
    plp_optimizer_options options;
    OK(plp_optimizer_options_init(&options, sizeof options, kind));
    return options;
}

static plp_predictor_options plp; /* the paper's */
static plp_optimizer_options sgd; /* at a learning rate of 0.05 */

static plp_trainer_options trainer_options(void)
{
    plp = predictor_options(PLP_PREDICTOR_PLP);
    sgd = optimizer_options(PLP_OPTIMIZER_SGD);
    sgd.learning_rate = 0.05;
    plp_trainer_options options;
    OK(plp_trainer_options_init(&options, sizeof options));
    options.batch_size = 16;
    options.optimizer = &sgd;
    options.schedule = PLP_SCHEDULE_COSINE;
    options.predictor = &plp;
    options.threads = 2;
    return options;
}

static plp_trainer *small_trainer(plp_model *model)
{
    const plp_trainer_options options = trainer_options();
    plp_trainer *trainer = NULL;
    OK(plp_trainer_create(model, &options, &trainer));
    return trainer;
}

static plp_fit_options fit_options(int64_t epochs, double validation_fraction)
{
    plp_fit_options options;
    OK(plp_fit_options_init(&options, sizeof options));
    options.epochs = epochs;
    options.validation_fraction = validation_fraction;
    return options;
}

static void test_trainer_options(plp_model *model)
{
    plp_trainer_options defaults;
    OK(plp_trainer_options_init(&defaults, sizeof defaults));
    CHECK(!defaults.optimizer && !defaults.predictor);
    CHECK(defaults.cyclic_peak == 2 && defaults.cyclic_up == 2000 && defaults.step_factor == 0.2);
    CHECK(defaults.batch_size == 128 && defaults.crop == 4 && defaults.flip == 1);
    plp_trainer *none = FOREIGN(plp_trainer);
    const int64_t falling[] = {5, 2};
#define BAD_AFTER(preparation, field, value, text)              \
    do {                                                        \
        plp_trainer_options options = defaults;                 \
        preparation;                                            \
        options.field = value;                                  \
        INVALID(plp_trainer_create(model, &options, &none), text); \
    } while (0)
#define BAD(field, value, text) BAD_AFTER((void)0, field, value, text)
    BAD(schedule, (plp_schedule)9, "schedule: found 9");
    BAD(warmup_epochs, -1, "warm-up");
    BAD(warmup_epochs, NAN, "warm-up");
    BAD(warmup_epochs, 1e300, "warm-up");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_CYCLIC, cyclic_peak, NAN, "peak");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_CYCLIC, cyclic_up, 0, "up");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_CYCLIC, cyclic_up, INT64_MAX, "up");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_CYCLIC, cyclic_down, -1, "down");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_MULTI_STEP, milestone_count, 2, "milestones: found NULL");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_MULTI_STEP, milestone_count, -1, "milestones: found -1");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_MULTI_STEP, milestone_count, INT64_MAX, "milestones");
    BAD_AFTER((options.schedule = PLP_SCHEDULE_MULTI_STEP, options.milestone_count = 2), milestones, falling,
              "milestones");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_MULTI_STEP, step_factor, NAN, "factor");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_MULTI_STEP, milestone_total, -1, "total");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_MULTI_STEP, milestone_total, INT64_MAX, "total");
    BAD_AFTER(options.schedule = PLP_SCHEDULE_COSINE, cosine_floor, -1, "floor");
    BAD(batch_size, 0, "batch size");
    BAD(batch_size, -1, "batch size");
    BAD(batch_size, INT64_MAX, "batch size");
    BAD(batch_size, 65537, "batch size");
    BAD(crop, -1, "crop");
    BAD(crop, INT64_MAX, "crop");
    BAD(rotation, -1, "rotation");
    BAD(rotation, NAN, "rotation");
    BAD(rotation, 1e300, "rotation");
    BAD(threads, -1, "threads");
    BAD(threads, INT64_MAX, "threads");
#undef BAD_AFTER
#undef BAD
    defaults.predictor = &plp;
    plp.period = 2;
    INVALID(plp_trainer_create(model, &defaults, &none), "period");
    plp.struct_size = 8;
    INVALID(plp_trainer_create(model, &defaults, &none), "plp_predictor_options.struct_size: found 8");
    defaults.predictor = NULL;
    plp_optimizer_options optimizer;
#define BAD(of, field, value, text)                                 \
    do {                                                            \
        optimizer = optimizer_options(PLP_OPTIMIZER_##of);          \
        optimizer.field = value;                                    \
        defaults.optimizer = &optimizer;                            \
        INVALID(plp_trainer_create(model, &defaults, &none), text); \
    } while (0)
    BAD(SGD, kind, (plp_optimizer_kind)9, "kind: found 9");
    BAD(SGD, struct_size, 8, "plp_optimizer_options.struct_size: found 8");
    BAD(SGD, learning_rate, -0.1, "learning rate");
    BAD(SGD, learning_rate, NAN, "learning rate");
    BAD(SGD, learning_rate, INFINITY, "learning rate");
    BAD(SGD, momentum, 1, "momentum");
    BAD(SGD, momentum, -0.1, "momentum");
    BAD(SGD, momentum, NAN, "momentum");
    BAD(SGD, weight_decay, -1, "weight decay");
    BAD(SGD, weight_decay, NAN, "weight decay");
    BAD(SGD, momentum, (optimizer.nesterov = 1, 0), "momentum");
    BAD(ADAMW, learning_rate, NAN, "learning rate");
    BAD(ADAMW, weight_decay, -1, "weight decay");
    BAD(ADAMW, beta1, 1, "beta1");
    BAD(ADAMW, beta2, NAN, "beta2");
    BAD(ADAMW, epsilon, -1e-9, "epsilon");
    BAD(ADAMW, epsilon, 0, "epsilon");
#undef BAD
    defaults.optimizer = NULL;
    INVALID(plp_optimizer_options_init(&optimizer, sizeof optimizer, (plp_optimizer_kind)9), "kind: found 9");
    INVALID(plp_optimizer_options_init(&optimizer, 8, PLP_OPTIMIZER_SGD), "plp_optimizer_options.struct_size: found 8");
    INVALID(plp_optimizer_options_init(NULL, sizeof optimizer, PLP_OPTIMIZER_SGD), "options: found NULL");
    optimizer = optimizer_options(PLP_OPTIMIZER_SGD);
    CHECK(optimizer.learning_rate == 0.001 && optimizer.momentum == 0.9 && optimizer.weight_decay == 1e-4);
    optimizer = optimizer_options(PLP_OPTIMIZER_ADAMW);
    CHECK(optimizer.beta1 == 0.9 && optimizer.beta2 == 0.999 && optimizer.weight_decay == 0.01);

    /* A batch size that is allowed, for a network that then needs hundreds of gigabytes. */
    plp_model *large = NULL;
    plp_trainer_options options = defaults;
    options.batch_size = 65536;
    OK(plp_model_create(NULL, &large));
    FAILS(plp_trainer_create(large, &options, &none), PLP_ERROR_OUT_OF_MEMORY, "65536");
    plp_model_free(large);
    CHECK(none == FOREIGN(plp_trainer));
}

/* Options of predictors, and the arithmetic that they stand for. */
static void test_predictor_options(void)
{
    plp_predictor_options options = predictor_options(PLP_PREDICTOR_PLP);
    CHECK(options.kind == PLP_PREDICTOR_PLP && options.step == 1 && options.end == INT64_MAX && !options.period);
    options = predictor_options(PLP_PREDICTOR_LOOKAHEAD);
    CHECK(options.period == 5 && options.rate == 0.5 && options.momentum == PLP_MOMENTUM_KEPT);
    options = predictor_options(PLP_PREDICTOR_EMA);
    CHECK(options.decay == 0.999 && options.warmup && options.statistics == PLP_STATISTICS_PREDICTED);
    options = predictor_options(PLP_PREDICTOR_SWA);
    CHECK(options.period == 1 && !options.start && options.statistics == PLP_STATISTICS_RECOMPUTED);

    const plp_action untouched = {.struct_size = sizeof untouched};
    plp_action action = untouched;
    const double bad_numbers[] = {0.5, NAN, 1};
#define BAD(of, field, value, text)                              \
    do {                                                         \
        options = predictor_options(PLP_PREDICTOR_##of);         \
        options.field = value;                                   \
        INVALID(plp_predictor_action(&options, 0, &action), text); \
    } while (0)
    BAD(PLP, kind, (plp_predictor_kind)9, "kind: found 9");
    BAD(PLP, momentum, (plp_momentum_rule)9, "momentum: found 9");
    BAD(EMA, statistics, (plp_statistics_rule)9, "statistics: found 9");
    BAD(PLP, step, NAN, "coefficients");
    BAD(PLP, step, 1e300, "coefficients");
    BAD(PLP, coefficient_count, 3, "coefficients: found NULL");
    BAD(PLP, coefficient_count, INT64_MIN, "coefficients");
    BAD(PLP, coefficients, (options.coefficient_count = 3, bad_numbers), "coefficients");
    BAD(PLP, coefficients, (options.coefficient_count = 1, bad_numbers), "coefficients");
    BAD(PLP, coefficients, bad_numbers, "coefficients");
    BAD(PLP, period, 2, "period");
    BAD(PLP, period, -3, "period");
    BAD(PLP, period, INT64_MAX, "period");
    BAD(PLP, start, -1, "start");
    BAD(PLP, end, 0, "end");
    BAD(LOOKAHEAD, rate, 1.5, "rate");
    BAD(LOOKAHEAD, period, -1, "period");
    BAD(LOOKAHEAD, period, 0, "period");
    BAD(EMA, decay, 1, "decay");
    BAD(EMA, decay, NAN, "decay");
    BAD(SWA, start, -1, "start");
    BAD(SWA, period, 0, "period");
    BAD(LOOKAHEAD, statistics, PLP_STATISTICS_RECOMPUTED, "statistics");
    BAD(EMA, struct_size, sizeof options + 8, "plp_predictor_options.struct_size");
#undef BAD
    INVALID(plp_predictor_action(NULL, 0, &action), "options: found NULL");
    options = predictor_options(PLP_PREDICTOR_PLP);
    INVALID(plp_predictor_action(&options, -1, &action), "iteration: found -1");
    INVALID(plp_predictor_action(&options, INT64_MAX, &action), "iteration");
    INVALID(plp_predictor_action(&options, 0, NULL), "action: found NULL");
    CHECK(!memcmp(&action, &untouched, sizeof action));
    action.struct_size = 8;
    INVALID(plp_predictor_action(&options, 0, &action), "plp_action.struct_size: found 8");
    options.kind = PLP_PREDICTOR_LOOKAHEAD;
    plp_predictor_options before = options;
    INVALID(plp_predictor_options_init(&options, sizeof options, (plp_predictor_kind)9), "kind: found 9");
    INVALID(plp_predictor_options_init(&options, 8, PLP_PREDICTOR_PLP), "plp_predictor_options.struct_size: found 8");
    INVALID(plp_predictor_options_init(NULL, sizeof options, PLP_PREDICTOR_PLP), "options: found NULL");
    CHECK(!memcmp(&options, &before, sizeof options));

    /* The paper's cycle: memory = -θ1/2 + θ2/2, then θ = θ3 + memory. */
    action = untouched;
    options = predictor_options(PLP_PREDICTOR_PLP);
    options.momentum = PLP_MOMENTUM_RESET;
    OK(plp_predictor_action(&options, 3, &action));
    CHECK(action.memory[0] == 0 && action.memory[1] == -0.5 && action.changes_memory && !action.replaces_parameters);
    OK(plp_predictor_action(&options, 4, &action));
    CHECK(action.memory[0] == 1 && action.memory[1] == 0.5 && !action.replaces_parameters && !action.resets_momentum);
    OK(plp_predictor_action(&options, 5, &action));
    CHECK(action.parameters[0] == 1 && action.parameters[1] == 1 && !action.changes_memory);
    CHECK(action.replaces_parameters && action.resets_momentum && !action.is_average && !action.remembers_start);
    options = predictor_options(PLP_PREDICTOR_LOOKAHEAD);
    OK(plp_predictor_action(&options, 3, &action));
    CHECK(!action.changes_memory && !action.replaces_parameters && action.remembers_start);
    OK(plp_predictor_action(&options, 4, &action));
    CHECK(action.memory[0] == 0.5 && action.parameters[0] == 0 && action.parameters[1] == 1 && !action.resets_momentum);
}

/* A predictor behind somebody's own steps: what each function does, and every way to call it wrongly. */
static void test_predictor(void)
{
    enum { COUNT = 50001 };
    static float values[COUNT], other[COUNT], cycle[3][COUNT], memory[COUNT];
    for (int i = 0; i < COUNT; i++)
        values[i] = sinf((float)i);
    const plp_predictor_options paper = predictor_options(PLP_PREDICTOR_PLP), ema = predictor_options(PLP_PREDICTOR_EMA);
    plp_predictor *predictor = NULL, *resumed = NULL, *average = NULL;
    OK(plp_predictor_create(&paper, values, COUNT, &predictor));
    OK(plp_predictor_create(&paper, values, COUNT, &resumed));
    OK(plp_predictor_create(&ema, values, COUNT, &average));
    memcpy(memory, values, sizeof memory);
    size_t bytes = 0, less = 0;
    OK(plp_predictor_state_size(predictor, &bytes));
    OK(plp_predictor_state_size(average, &less));
    CHECK(bytes > sizeof values && less < bytes);
    char *state = malloc(bytes);
    for (int iteration = 0; iteration < 3; iteration++) {
        for (int i = 0; i < COUNT; i++)
            cycle[iteration][i] = values[i] -= 0.1f * cosf((float)(i + iteration));
        if (iteration == 2) { /* the last step of the cycle, by one that goes on from here too */
            memcpy(other, values, sizeof other);
            OK(plp_predictor_get_state(predictor, state, bytes));
            OK(plp_predictor_set_state(resumed, state, bytes));
            OK(plp_predictor_after_step(resumed, other, NULL));
        }
        OK(plp_predictor_after_step(average, values, NULL));
        const double decay = (1. + iteration) / (10. + iteration);
        for (int i = 0; i < COUNT; i++)
            memory[i] = (float)(decay * memory[i] + (1 - decay) * values[i]);
        int replaced = -7;
        OK(plp_predictor_after_step(predictor, values, &replaced));
        CHECK(replaced == (iteration == 2));
    }
    bool as_the_formula = true;
    for (int i = 0; i < COUNT; i++)
        as_the_formula = as_the_formula && values[i] == cycle[2][i] + 0.5f * (cycle[1][i] - cycle[0][i]);
    CHECK(as_the_formula && !memcmp(values, other, sizeof values));
    OK(plp_predictor_average(average, other));
    bool as_the_mean = true;
    for (int i = 0; i < COUNT; i++)
        as_the_mean = as_the_mean && fabsf(other[i] - memory[i]) < 1e-6f;
    CHECK(as_the_mean);

    /* What is refused changes nothing. */
    float before[2] = {values[0], values[COUNT - 1]};
    plp_predictor *freed = NULL, *none = FOREIGN(plp_predictor);
    OK(plp_predictor_create(&ema, values, 3, &freed));
    INVALID(plp_predictor_average(freed, other), "predictor: found EMA after 0 iterations");
    plp_predictor_free(freed);
    plp_predictor_free(freed);
    plp_predictor_free(NULL);
    plp_predictor *wrong[] = {NULL, freed, FOREIGN(plp_predictor)};
    for (int i = 0; i < 3; i++) {
        INVALID(plp_predictor_after_step(wrong[i], values, NULL), "predictor: ");
        INVALID(plp_predictor_average(wrong[i], other), "predictor: ");
        INVALID(plp_predictor_state_size(wrong[i], &bytes), "predictor: ");
        INVALID(plp_predictor_get_state(wrong[i], state, bytes), "predictor: ");
        INVALID(plp_predictor_set_state(wrong[i], state, bytes), "predictor: ");
    }
    INVALID(plp_predictor_create(NULL, values, COUNT, &none), "options: found NULL");
    INVALID(plp_predictor_create(&paper, NULL, COUNT, &none), "parameters: found NULL");
    INVALID(plp_predictor_create(&paper, values, -1, &none), "count: found -1");
    INVALID(plp_predictor_create(&paper, values, INT64_MAX, &none), "count: found 9223372036854775807");
    INVALID(plp_predictor_create(&paper, values, COUNT, NULL), "predictor: found NULL");
    FAILS(plp_predictor_create(&paper, values, INT64_MAX / 4, &none), PLP_ERROR_OUT_OF_MEMORY, "memory");
    CHECK(none == FOREIGN(plp_predictor));
    INVALID(plp_predictor_after_step(predictor, NULL, NULL), "parameters: found NULL");
    INVALID(plp_predictor_average(predictor, other), "predictor: found PLP after 3 iterations");
    INVALID(plp_predictor_average(average, NULL), "out: found NULL");
    INVALID(plp_predictor_state_size(predictor, NULL), "bytes: found NULL");
    INVALID(plp_predictor_get_state(predictor, NULL, bytes), "state: found NULL");
    INVALID(plp_predictor_get_state(predictor, state, bytes - 1), "bytes: found");
    INVALID(plp_predictor_set_state(predictor, NULL, bytes), "state: found NULL");
    INVALID(plp_predictor_set_state(predictor, state, bytes - 1), "state: found");
    INVALID(plp_predictor_set_state(predictor, state, 3), "state: found 3 bytes of another kind");
    INVALID(plp_predictor_set_state(average, state, bytes), "state: found one of PLP {");
    OK(plp_predictor_get_state(average, state, less));
    INVALID(plp_predictor_set_state(predictor, state, less), "state: found one of EMA {");
    memset(state, 0xff, bytes);
    INVALID(plp_predictor_set_state(predictor, state, bytes), "state: found");
    CHECK(values[0] == before[0] && values[COUNT - 1] == before[1]);
    free(state);
    plp_predictor_free(average);
    plp_predictor_free(resumed);
    plp_predictor_free(predictor);
}

/* A run of two epochs as its callback hears it. */
typedef struct {
    plp_trainer *trainer;
    plp_model *model;
    int64_t trained, validated, tested, ended, predicted, stop_after;
    int answer; /* after the iteration `stop_after` */
    bool called_back;
} run;

static int listen(const plp_progress *progress, void *user_data)
{
    run *run = user_data;
    CHECK(progress->struct_size == sizeof *progress && progress->epochs > progress->epoch);
    CHECK(progress->iteration >= 0 && progress->iteration < progress->iterations);
    CHECK(!!progress->finished == (progress->phase == PLP_PHASE_EPOCH_END));
    run->trained += progress->phase == PLP_PHASE_TRAINING;
    run->validated += progress->phase == PLP_PHASE_VALIDATION;
    run->tested += progress->phase == PLP_PHASE_TEST;
    run->ended += progress->phase == PLP_PHASE_EPOCH_END;
    run->predicted += progress->predicted;
    if (progress->phase == PLP_PHASE_TRAINING)
        CHECK(progress->batch.count > 0 && progress->batch.count <= 16 && progress->batch.loss > 0);

    /* From here one may look at the run, save and measure it, but not run it. */
    if (!run->called_back) {
        run->called_back = true;
        plp_history history = {.struct_size = sizeof history};
        plp_model_info info = {.struct_size = sizeof info};
        plp_metrics metrics;
        OK(plp_trainer_history(run->trainer, &history));
        CHECK(history.epoch_count == 1 && history.best_epoch == -1);
        OK(plp_model_describe(run->model, &info));
        OK(plp_trainer_save(run->trainer, file("within")));
        plp_dataset *dataset = synthetic(PLP_SPLIT_TEST, 1);
        INVALID(plp_trainer_fit(run->trainer, dataset, NULL), "trainer: found one that a fit is under way on");
        INVALID(plp_trainer_restore(run->trainer, file("within")), "a fit is under way");
        uint8_t image[IMAGE] = {0};
        int32_t label = 0;
        INVALID(plp_trainer_step(run->trainer, image, PLP_UINT8, &label, 1, NULL), "a fit is under way");
        INVALID(plp_trainer_gradients(run->trainer, image, PLP_UINT8, &label, 1, NULL, NULL, 0), "a fit is under way");
        OK(plp_trainer_evaluate(run->trainer, dataset, NULL, NULL, &metrics));
        plp_dataset_free(dataset);
        dataset = synthetic(PLP_SPLIT_TEST, 300);
        watched within = {.model = run->model, .stop_after = 9};
        OK(plp_model_evaluate(run->model, dataset, 1, watch, &within, &metrics));
        CHECK(within.calls == 3 && metrics.count == 300);
        plp_dataset_free(dataset);
    }
    return run->trained == run->stop_after ? run->answer : PLP_PROCEED;
}

static void test_fit(plp_dataset *train, plp_dataset *test)
{
    /* 90 images, 20 % of them for validation: 72 in mini-batches of 16, the last one of 8. */
    plp_model *model = small_model();
    plp_trainer *trainer = small_trainer(model);
    plp_fit_options options = fit_options(2, 0.2);
    run run = {.trainer = trainer, .model = model};
    options.test = test;
    options.callback = listen;
    options.user_data = &run;
    OK(plp_trainer_fit(trainer, train, &options));
    CHECK(run.trained == 10 && run.validated > 0 && run.tested > 0 && run.ended == 2 && run.predicted == 3);

    plp_history history = {.struct_size = sizeof history};
    OK(plp_trainer_history(trainer, &history));
    CHECK(history.epoch_count == 2 && !history.is_stopped && *history.data);
    CHECK(history.best_epoch == 0 || history.best_epoch == 1);
    CHECK(history.test.count == 40 && history.test.loss > 0);
    CHECK(history.test.top1_error >= history.test.top5_error && history.test.top1_error <= 1);
    int64_t predictions = 0;
    plp_epoch epochs[2] = {{.struct_size = sizeof *epochs}}, first = {.struct_size = sizeof first};
    OK(plp_trainer_epochs(trainer, &history, epochs, 2));
    for (int i = 0; i < 2; i++) {
        const plp_epoch *epoch = &epochs[i];
        CHECK(epoch->struct_size == sizeof *epoch && epoch->epoch == i && epoch->is_complete);
        CHECK(epoch->iterations == 5 && epoch->training.count == 72 && epoch->validation.count == 18);
        CHECK(epoch->seconds > 0 && epoch->images_per_second > 0);
        predictions += epoch->predictions;
    }
    CHECK(predictions == 3);
    plp_history again = {.struct_size = sizeof again};
    OK(plp_trainer_epochs(trainer, &again, &first, 1));
    CHECK(!memcmp(&first, &epochs[0], sizeof first));
    CHECK(again.epoch_count == 2 && again.best_epoch == history.best_epoch && again.data == history.data);
    OK(plp_trainer_epochs(trainer, &again, NULL, 0));
    OK(plp_trainer_epochs(trainer, &again, epochs, INT64_MAX)); /* which are no more than there are */
    INVALID(plp_trainer_epochs(trainer, &again, &first, -1), "room: found -1");
    INVALID(plp_trainer_epochs(trainer, &again, NULL, 1), "epochs: found NULL");
    first.struct_size = 1;
    INVALID(plp_trainer_epochs(trainer, &again, &first, 1), "plp_epoch.struct_size: found 1");

    /* The best model is what was measured on the test set. */
    plp_model *best = NULL;
    plp_trainer *judge = NULL;
    plp_metrics metrics;
    OK(plp_trainer_best_model(trainer, &best));
    OK(plp_trainer_create(best, NULL, &judge));
    OK(plp_trainer_evaluate(judge, test, NULL, NULL, &metrics));
    CHECK(!memcmp(&metrics, &history.test, sizeof metrics));
    plp_dataset *many = synthetic(PLP_SPLIT_TEST, 300);
    watched stopped = {.model = best, .stop_after = 2};
    OK(plp_trainer_evaluate(judge, many, watch, &stopped, &metrics));
    CHECK(stopped.calls == 2 && metrics.count == 256 && metrics.loss == stopped.running.loss);
    plp_dataset_free(many);
    plp_trainer_free(judge);
    plp_model_free(best);

    /* Profile: the network's first layer first. */
    int64_t count = 0;
    double seconds = 0;
    OK(plp_trainer_profile_count(trainer, &count));
    plp_profile_entry *entries = calloc((size_t)count, sizeof *entries);
    entries->struct_size = sizeof *entries;
    OK(plp_trainer_profile(trainer, 0, count, entries));
    for (int64_t i = 0; i < count; i++) {
        CHECK(*entries[i].layer && *entries[i].operation && entries[i].calls == 10);
        seconds += entries[i].seconds;
    }
    CHECK(count > 0 && seconds > 0);
    INVALID(plp_trainer_profile(trainer, count, 1, entries), "entries");
    free(entries);

    /* What a run may not be asked. */
    const plp_fit_options fine = options;
#define BAD(field, value, text)                           \
    do {                                                  \
        options = fine;                                   \
        options.field = value;                            \
        INVALID(plp_trainer_fit(trainer, train, &options), text); \
    } while (0)
    BAD(epochs, 0, "epochs");
    BAD(epochs, -1, "epochs");
    BAD(epochs, 1, "epochs"); /* it has two */
    BAD(epochs, INT64_MAX, "epochs");
    BAD(validation_fraction, 1, "validation");
    BAD(validation_fraction, -0.5, "validation");
    BAD(validation_fraction, NAN, "validation");
    BAD(validation, test, "validation_fraction");
    BAD(test, FOREIGN(plp_dataset), "test: ");
    BAD(validation_fraction, 0.5, "data"); /* other images than it was trained on */
#undef BAD
    OK(plp_trainer_history(trainer, &history));
    CHECK(history.epoch_count == 2);
    plp_trainer_free(trainer);
    plp_model_free(model);
}

/* A run that is stopped and goes on, in its trainer or from a checkpoint in another one, ends as one that was not. */
static void test_stop_and_resume(plp_dataset *train)
{
    plp_model *models[3];
    plp_trainer *trainers[3];
    for (int i = 0; i < 3; i++) {
        models[i] = small_model();
        trainers[i] = small_trainer(models[i]);
    }
    plp_fit_options options = fit_options(2, 0.2);
    OK(plp_trainer_fit(trainers[0], train, &options));

    run run = {.trainer = trainers[1], .model = models[1], .stop_after = 7, .answer = -1}; /* anything but a reply */
    options.callback = listen;
    options.user_data = &run;
    OK(plp_trainer_fit(trainers[1], train, &options));
    plp_history history = {.struct_size = sizeof history};
    OK(plp_trainer_history(trainers[1], &history));
    CHECK(run.trained == 7 && history.is_stopped && history.epoch_count == 2 && history.best_epoch == 0);
    CHECK(run.tested == 0 && history.test.count == 0);
    plp_epoch epochs[2] = {{.struct_size = sizeof *epochs}};
    OK(plp_trainer_epochs(trainers[1], &history, epochs, 2));
    CHECK(!epochs[1].is_complete && epochs[1].iterations == 2);
    OK(plp_trainer_save(trainers[1], file("checkpoint")));

    options.callback = NULL;
    OK(plp_trainer_fit(trainers[1], train, &options));
    OK(plp_trainer_restore(trainers[2], file("checkpoint")));
    OK(plp_trainer_fit(trainers[2], train, &options));
    for (int i = 1; i < 3; i++) {
        plp_model *best[2];
        CHECK(equal(models[0], models[i]));
        OK(plp_trainer_best_model(trainers[0], &best[0]));
        OK(plp_trainer_best_model(trainers[i], &best[1]));
        CHECK(equal(best[0], best[1]));
        plp_model_free(best[0]);
        plp_model_free(best[1]);
    }

    /* Checkpoints that do not fit, or are none, change nothing. */
    plp_model_options wider = small_network();
    wider.width *= 2;
    plp_model *other = NULL;
    plp_trainer *stranger = NULL;
    OK(plp_model_create(&wider, &other));
    OK(plp_trainer_create(other, NULL, &stranger));
    INVALID(plp_trainer_restore(stranger, file("checkpoint")), "checkpoint");
    FAILS(plp_trainer_restore(trainers[0], file("missing")), PLP_ERROR_NOT_FOUND, "missing");
    FAILS(plp_trainer_restore(trainers[0], file("model.safetensors")), PLP_ERROR_CORRUPT, "model.safetensors");
    FAILS(plp_trainer_save(trainers[0], file("no folder/checkpoint")), PLP_ERROR_NOT_FOUND, "no folder");
    write_file(file("cut"), "plp", 3);
    FAILS(plp_trainer_restore(trainers[0], file("cut")), PLP_ERROR_CORRUPT, "cut");
    CHECK(equal(models[0], models[1]));
    plp_trainer_free(stranger);
    plp_model_free(other);
    for (int i = 0; i < 3; i++) {
        plp_trainer_free(trainers[i]);
        plp_model_free(models[i]);
    }
}

/* A run that its callback finishes trains no further, and measures the best model. */
static void test_finish(plp_dataset *train, plp_dataset *test)
{
    plp_model *model = small_model();
    plp_trainer *trainer = small_trainer(model);
    plp_fit_options options = fit_options(2, 0.2);
    run run = {.trainer = trainer, .model = model, .stop_after = 7, .answer = PLP_FINISH};
    options.test = test;
    options.callback = listen;
    options.user_data = &run;
    OK(plp_trainer_fit(trainer, train, &options));
    plp_history history = {.struct_size = sizeof history};
    OK(plp_trainer_history(trainer, &history));
    CHECK(run.trained == 7 && run.tested > 0 && !history.is_stopped);
    CHECK(history.epoch_count == 2 && history.best_epoch == 0 && history.test.count == 40);
    plp_trainer_free(trainer);
    plp_model_free(model);
}

/* Single steps: gradients change nothing, plain SGD subtracts them, a huge learning rate is noticed. */
/* What a watch records, and what it may not be asked. Its numbers are tested from Python, against NumPy's. */
static void test_watch(void)
{
    enum { COUNT = 8, STEPS = 8 };
    plp_dataset *dataset = synthetic(PLP_SPLIT_TRAIN, COUNT);
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(dataset, &info));
    plp_model *model = small_model();
    plp_trainer_options options = trainer_options();
    plp_predictor_options rule;
    plp_trainer *trainer = NULL;
    plp_watched record = {.struct_size = sizeof record};

    OK(plp_predictor_options_init(&rule, sizeof rule, PLP_PREDICTOR_EMA));
    options.watch = &rule;
    INVALID(plp_trainer_create(model, &options, &trainer), "watch: found EMA, expected PLP");
    const double coefficients[] = {0.5, 0.5};
    OK(plp_predictor_options_init(&rule, sizeof rule, PLP_PREDICTOR_PLP));
    rule.coefficients = coefficients;
    rule.coefficient_count = 2;
    INVALID(plp_trainer_create(model, &options, &trainer), "watched PLP's coefficients: found 2");
    rule.coefficients = NULL;
    rule.coefficient_count = 0;
    options.watch_samples = -1;
    INVALID(plp_trainer_create(model, &options, &trainer), "watch_samples: found -1");
    options.watch_samples = 1001;
    INVALID(plp_trainer_create(model, &options, &trainer), "watch_samples: found 1001");
    options.watch = NULL; /* then the number of samples says nothing */
    OK(plp_trainer_create(model, &options, &trainer));
    INVALID(plp_trainer_watched(trainer, &record), "trainer: found one without a watch");
    plp_trainer_free(trainer);

    options.watch = &rule;
    options.watch_samples = 2;
    OK(plp_trainer_create(model, &options, &trainer));
    for (int step = 0; step < STEPS; step++)
        OK(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, COUNT, NULL));
    record.struct_size = 3;
    INVALID(plp_trainer_watched(trainer, &record), "plp_watched.struct_size: found 3");
    INVALID(plp_trainer_watched(trainer, NULL), "watched: found NULL");
    record.struct_size = sizeof record;
    OK(plp_trainer_watched(trainer, &record));
    CHECK(record.cycles == 2 && record.iterations == STEPS && record.samples == 2 && record.layers > 10);

    plp_move *moves = calloc((size_t)(record.cycles * record.layers), sizeof *moves);
    float *values = calloc((size_t)(record.iterations * record.layers * record.samples), sizeof *values);
    int64_t iterations[2] = {0};
    OK(plp_trainer_records(trainer, &record, moves, iterations, values));
    CHECK(record.cycles == 2 && record.iterations == STEPS && iterations[0] == 2 && iterations[1] == 5);
    for (int64_t i = 0; i < record.cycles * record.layers; i++)
        CHECK(moves[i].predicted >= 0 && moves[i].actual > 0);
    /* No more than there is room for, and no more than there is. */
    float row[200];
    CHECK(record.layers * 2 <= 200);
    record.cycles = 0;
    record.iterations = 1;
    OK(plp_trainer_records(trainer, &record, NULL, NULL, row));
    CHECK(record.cycles == 0 && record.iterations == 1);
    CHECK(!memcmp(row, values, (size_t)record.layers * 2 * sizeof *row));
    record.cycles = record.iterations = INT64_MAX;
    OK(plp_trainer_records(trainer, &record, NULL, iterations, NULL));
    CHECK(record.cycles == 2 && record.iterations == STEPS);
    record.cycles = -1;
    INVALID(plp_trainer_records(trainer, &record, moves, iterations, values), "cycles: found -1");
    record.cycles = 2;
    record.iterations = -1;
    INVALID(plp_trainer_records(trainer, &record, moves, iterations, values), "iterations: found -1");
    INVALID(plp_trainer_records(trainer, NULL, moves, iterations, values), "watched: found NULL");
    record.struct_size = 3;
    INVALID(plp_trainer_records(trainer, &record, moves, iterations, values), "plp_watched.struct_size: found 3");
    free(moves);
    free(values);
    plp_trainer_free(trainer);
    plp_model_free(model);
    plp_dataset_free(dataset);
}

static void test_steps(void)
{
    enum { COUNT = 8 };
    plp_dataset *dataset = synthetic(PLP_SPLIT_TRAIN, COUNT);
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(dataset, &info));
    plp_model *model = small_model(), *before = small_model();
    plp_trainer_options options = trainer_options();
    options.predictor = NULL;
    sgd.weight_decay = 0;
    sgd.learning_rate = 0.125;
    plp_trainer *trainer = NULL;
    OK(plp_trainer_create(model, &options, &trainer));

    plp_metrics first = {0}, second = {0};
    plp_model_info network = {.struct_size = sizeof network};
    OK(plp_model_describe(model, &network));
    const size_t bytes = (size_t)network.parameter_count * sizeof(float);
    float *gradients = malloc(bytes);
    OK(plp_trainer_gradients(trainer, info.images, PLP_UINT8, info.labels, COUNT, &first, gradients, bytes));
    CHECK(first.count == COUNT && first.loss > 0);
    CHECK(equal(model, before));
    plp_entry entry = {.struct_size = sizeof entry};
    const float *place = gradients;
    for (int64_t index = 0; index < network.entry_count; index++) {
        OK(plp_model_entry(model, index, &entry));
        if (entry.kind != PLP_ENTRY_PARAMETER)
            continue;
        float *alone = malloc(entry.bytes);
        OK(plp_trainer_get_gradient(trainer, index, alone, entry.bytes));
        CHECK(!memcmp(alone, place, entry.bytes));
        place += entry.bytes / sizeof *place;
        free(alone);
    }
    CHECK(place == gradients + network.parameter_count);
    OK(plp_model_entry(model, 0, &entry));
    float gradient[1000], old[1000], new[1000];
    OK(plp_trainer_get_gradient(trainer, 0, gradient, entry.bytes));
    OK(plp_model_get_values(model, 0, old, entry.bytes));
    OK(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, COUNT, &second));
    CHECK(!memcmp(&first, &second, sizeof first));
    OK(plp_model_get_values(model, 0, new, entry.bytes));
    for (size_t i = 0; i < entry.bytes / 4; i++)
        CHECK(fabsf(new[i] - (old[i] - 0.125f * gradient[i])) <= 1e-6f);
    OK(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, 1, NULL));

    /* A counter at its end goes on from the other, as PyTorch's does. */
    int64_t counter = -1, tracked = INT64_MAX;
    OK(plp_model_find_entry(model, "conv1.1.num_batches_tracked", &counter));
    OK(plp_model_set_values(model, counter, &tracked, sizeof tracked));
    OK(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, 1, NULL));
    OK(plp_model_get_values(model, counter, &tracked, sizeof tracked));
    CHECK(tracked == INT64_MIN);
    OK(plp_trainer_gradients(trainer, info.images, PLP_UINT8, info.labels, 1, NULL, NULL, 0));
    OK(plp_trainer_save(trainer, file("wrapped")));
    OK(plp_trainer_restore(trainer, file("wrapped")));

    const plp_metrics untouched = first;
    int64_t statistic = -1;
    int32_t wrong[COUNT] = {0, 1, 2, 3, 4, 5, 6, 100};
    OK(plp_model_find_entry(model, "conv1.1.running_mean", &statistic));
    INVALID(plp_trainer_get_gradient(trainer, statistic, gradient, 16), "running_mean");
    INVALID(plp_trainer_get_gradient(trainer, -1, gradient, entry.bytes), "index");
    INVALID(plp_trainer_get_gradient(trainer, 0, gradient, entry.bytes - 4), "bytes");
    INVALID(plp_trainer_get_gradient(trainer, 0, NULL, entry.bytes), "values: found NULL");
    INVALID(plp_trainer_step(trainer, NULL, PLP_UINT8, info.labels, COUNT, &first), "images: found NULL");
    INVALID(plp_trainer_step(trainer, info.images, PLP_UINT8, NULL, COUNT, &first), "labels: found NULL");
    INVALID(plp_trainer_step(trainer, info.images, PLP_INT64, info.labels, COUNT, &first), "dtype: found 2");
    INVALID(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, 0, &first), "count: found 0");
    INVALID(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, 17, &first), "count: found 17");
    INVALID(plp_trainer_step(trainer, info.images, PLP_UINT8, info.labels, INT64_MIN, &first), "count");
    INVALID(plp_trainer_gradients(trainer, info.images, PLP_UINT8, wrong, COUNT, &first, gradients, bytes), "label");
    wrong[7] = -1;
    INVALID(plp_trainer_gradients(trainer, info.images, PLP_UINT8, wrong, COUNT, &first, gradients, bytes), "label");
    INVALID(plp_trainer_gradients(trainer, info.images, PLP_UINT8, info.labels, COUNT, &first, gradients, bytes - 4), "bytes");
    CHECK(!memcmp(&first, &untouched, sizeof first));
    free(gradients);
    plp_trainer_free(trainer);

    /* Not finite: the message says what was found and, of a run, how far it had come. The handles go on working. */
    plp_metrics metrics;
    sgd.learning_rate = 1000;
    OK(plp_trainer_create(model, &options, &trainer));
    float *images = malloc(sizeof(float) * COUNT * IMAGE);
    for (int i = 0; i < COUNT * IMAGE; i++)
        images[i] = NAN;
    FAILS(plp_trainer_step(trainer, images, PLP_FLOAT32, info.labels, COUNT, &metrics), PLP_ERROR_NOT_FINITE,
          "loss: found nan");
    plp_fit_options fit = fit_options(100, 0);
    FAILS(plp_trainer_fit(trainer, dataset, &fit), PLP_ERROR_NOT_FINITE, "of 100 epochs");
    plp_history history = {.struct_size = sizeof history};
    OK(plp_trainer_history(trainer, &history));
    CHECK(history.epoch_count > 0 && history.is_stopped);
    free(images);
    plp_trainer_free(trainer);
    plp_model_free(before);
    plp_model_free(model);
    plp_dataset_free(dataset);
}

/* Saves the model at the first epoch's end, and ruins it in the middle of the second. */
static int ruin(const plp_progress *progress, void *model)
{
    if (progress->phase == PLP_PHASE_EPOCH_END)
        OK(plp_model_save(model, file("epoch")));
    if (progress->epoch == 1 && progress->iteration == 2) {
        plp_entry entry = {.struct_size = sizeof entry};
        OK(plp_model_entry(model, 0, &entry));
        float *values = malloc(entry.bytes);
        memset(values, 0xff, entry.bytes); /* NaN */
        OK(plp_model_set_values(model, 0, values, entry.bytes));
        free(values);
    }
    return 0;
}

/* A run that fails, without validation: its best model is that of its last complete epoch. */
static void test_not_finite(plp_dataset *train)
{
    plp_model *model = small_model(), *best = NULL, *epoch = NULL;
    plp_trainer *trainer = small_trainer(model);
    plp_fit_options options = fit_options(2, 0);
    options.callback = ruin;
    options.user_data = model;
    FAILS(plp_trainer_fit(trainer, train, &options), PLP_ERROR_NOT_FINITE,
          "after 1 of 2 epochs and 3 of 6 iterations: loss: found nan, expected");
    plp_history history = {.struct_size = sizeof history};
    OK(plp_trainer_history(trainer, &history));
    CHECK(history.epoch_count == 2 && history.best_epoch == 0 && history.is_stopped);
    OK(plp_trainer_best_model(trainer, &best));
    OK(plp_model_load(file("epoch"), &epoch));
    CHECK(equal(best, epoch) && !equal(model, epoch));
    plp_metrics metrics = {0};
    OK(plp_model_evaluate(best, train, 1, NULL, NULL, &metrics));
    CHECK(isfinite(metrics.loss));
    plp_model_free(epoch);
    plp_model_free(best);
    plp_trainer_free(trainer);
    plp_model_free(model);
}

/* A dataset of more classes than the network has outputs. */
static void test_too_many_classes(plp_dataset *dataset)
{
    plp_model_options options = small_network();
    options.classes = 10;
    plp_model *model = NULL;
    OK(plp_model_create(&options, &model));
    plp_trainer *trainer = small_trainer(model);
    plp_metrics metrics;
    INVALID(plp_trainer_fit(trainer, dataset, NULL), "classes");
    INVALID(plp_trainer_evaluate(trainer, dataset, NULL, NULL, &metrics), "classes");
    plp_trainer_free(trainer);
    plp_model_free(model);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

static void run_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, function, argument) && !pthread_join(thread, NULL));
}

/* What another thread may do with a model in training while its callback waits for that thread. */
typedef struct {
    plp_model *model;
    plp_trainer *trainer, *other;
    plp_dataset *train;
    int visits;
} visit;

static void *visit_from_elsewhere(void *user_data)
{
    visit *visit = user_data;
    plp_metrics metrics, again;
    plp_history history = {.struct_size = sizeof history};
    plp_model *best = NULL;
    float logits[100], bias[100];
    const uint8_t image[IMAGE] = {0};
    const int32_t label = 0;
    int64_t entry = -1;
    OK(plp_trainer_history(visit->trainer, &history));
    OK(plp_trainer_save(visit->trainer, file("checkpoint")));
    OK(plp_trainer_best_model(visit->trainer, &best));
    OK(plp_model_save(visit->model, file("model")));
    OK(plp_model_logits(visit->model, image, PLP_UINT8, 1, 1, logits));
    OK(plp_model_evaluate(visit->model, visit->train, 1, NULL, NULL, &metrics));
    OK(plp_trainer_evaluate(visit->trainer, visit->train, NULL, NULL, &again));
    CHECK(!memcmp(&metrics, &again, sizeof metrics));
    OK(plp_model_find_entry(visit->model, "fc.bias", &entry));
    OK(plp_model_get_values(visit->model, entry, bias, sizeof bias));
    OK(plp_model_set_values(visit->model, entry, bias, sizeof bias));
    plp_trainer *trainers[] = {visit->trainer, visit->other};
    for (int i = 0; i < 2; i++) {
        INVALID(plp_trainer_fit(trainers[i], visit->train, NULL), "trainer: found one that a fit is under way on");
        INVALID(plp_trainer_step(trainers[i], image, PLP_UINT8, &label, 1, NULL), "a fit is under way on");
        INVALID(plp_trainer_gradients(trainers[i], image, PLP_UINT8, &label, 1, NULL, NULL, 0), "a fit is under way on");
    }
    INVALID(plp_trainer_restore(visit->trainer, file("checkpoint")), "a fit is under way on");
    plp_model_free(best);
    visit->visits++;
    return NULL;
}

static int send_a_visitor(const plp_progress *progress, void *user_data)
{
    (void)progress;
    run_thread(visit_from_elsewhere, user_data);
    return PLP_PROCEED;
}

static void test_visits_to_a_fit(plp_dataset *train)
{
    plp_model *model = small_model();
    visit visit = {model, small_trainer(model), small_trainer(model), train, 0};
    plp_fit_options options = fit_options(1, 0.2);
    options.callback = send_a_visitor;
    options.user_data = &visit;
    OK(plp_trainer_fit(visit.trainer, train, &options));
    CHECK(visit.visits > 5);
    plp_trainer_free(visit.other);
    plp_trainer_free(visit.trainer);
    plp_model_free(model);
}

/* Handles that are freed while a call uses them serve it to its end. */
static int free_handles(const plp_progress *progress, void *user_data)
{
    visit *visit = user_data;
    plp_trainer_free(visit->trainer);
    plp_model_free(visit->model);
    return progress->iteration == 2;
}

static void test_freed_while_used(plp_dataset *train)
{
    plp_model *model = small_model();
    visit visit = {.model = model, .trainer = small_trainer(model)};
    plp_fit_options options = fit_options(1, 0);
    options.callback = free_handles;
    options.user_data = &visit;
    OK(plp_trainer_fit(visit.trainer, train, &options));
    INVALID(plp_trainer_fit(visit.trainer, train, &options), "freed");
}

/* An evaluation is of the model as it was when it began. */
static void *ruin_weights(void *model)
{
    float bias[100];
    int64_t entry = -1;
    memset(bias, 0xff, sizeof bias); /* NaN */
    OK(plp_model_find_entry(model, "fc.bias", &entry));
    OK(plp_model_set_values(model, entry, bias, sizeof bias));
    return NULL;
}

static int have_weights_ruined(const plp_progress *progress, void *model)
{
    (void)progress;
    run_thread(ruin_weights, model);
    return PLP_PROCEED;
}

static void test_evaluation_of_a_moment(void)
{
    plp_model *model = small_model();
    plp_dataset *many = synthetic(PLP_SPLIT_TEST, 300);
    plp_metrics metrics, same;
    OK(plp_model_evaluate(model, many, 1, NULL, NULL, &metrics));
    OK(plp_model_evaluate(model, many, 1, have_weights_ruined, model, &same));
    CHECK(metrics.count == 300 && !memcmp(&metrics, &same, sizeof metrics));
    OK(plp_model_evaluate(model, many, 1, NULL, NULL, &same));
    CHECK(isnan(same.loss));
    plp_dataset_free(many);
    plp_model_free(model);
}

/* Threads of a server, all at one model: each gets what one alone gets. */
typedef struct {
    plp_model *model;
    plp_dataset *dataset;
    float logits[4][100];
    plp_metrics metrics;
} request;

static void *serve(void *user_data)
{
    request *expected = user_data;
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(expected->dataset, &info));
    for (int i = 0; i < 5; i++) {
        float logits[4][100];
        plp_metrics metrics;
        OK(plp_model_logits(expected->model, info.images, PLP_UINT8, 4, 1, *logits));
        CHECK(!memcmp(logits, expected->logits, sizeof logits));
        OK(plp_model_evaluate(expected->model, expected->dataset, 1, NULL, NULL, &metrics));
        CHECK(!memcmp(&metrics, &expected->metrics, sizeof metrics));
    }
    return NULL;
}

static void test_server(plp_dataset *dataset)
{
    request request = {.model = small_model(), .dataset = dataset};
    plp_dataset_info info = {.struct_size = sizeof info};
    OK(plp_dataset_describe(dataset, &info));
    OK(plp_model_logits(request.model, info.images, PLP_UINT8, 4, 1, *request.logits));
    OK(plp_model_evaluate(request.model, dataset, 1, NULL, NULL, &request.metrics));
    pthread_t threads[20];
    for (int i = 0; i < 20; i++)
        CHECK(!pthread_create(&threads[i], NULL, serve, &request));
    for (int i = 0; i < 20; i++)
        CHECK(!pthread_join(threads[i], NULL));
    plp_model_free(request.model);
}

/* A wait for another thread's call can be interrupted, and leaves all as it was; its callback may make calls. */
typedef struct {
    plp_model *busy, *free;
    atomic_bool is_over;
    int calls;
} waiting;

enum { LONG = 30000 }; /* images: the better part of a second and more */

static void *compute_for_long(void *user_data)
{
    waiting *wait = user_data;
    uint8_t *images = calloc(LONG, IMAGE);
    float *logits = malloc(sizeof(float) * LONG * 100);
    OK(plp_model_logits(wait->busy, images, PLP_UINT8, LONG, 1, logits));
    wait->is_over = true;
    free(logits);
    free(images);
    return NULL;
}

static int stop_waiting(void *user_data)
{
    waiting *wait = user_data;
    wait->calls++;
    OK(plp_model_save(wait->free, file("while-waiting")));
    if (wait->calls == 1) /* a wait within a wait */
        FAILS(plp_model_save(wait->busy, file("never")), PLP_ERROR_INTERRUPTED, "model: the wait for another thread's");
    return 1;
}

static void test_interrupted_wait(void)
{
    waiting wait = {.busy = small_model(), .free = small_model()};
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, compute_for_long, &wait));
    plp_status status = PLP_OK;
    plp_set_wait_callback(stop_waiting, &wait);
    while (!wait.is_over && !status) /* until the thread has begun */
        status = plp_model_save(wait.busy, file("saved"));
    CHECK(status == PLP_ERROR_INTERRUPTED && wait.calls == 2 && file_size(file("never")) == -1);
    plp_set_wait_callback(NULL, NULL);
    OK(plp_model_save(wait.busy, file("saved"))); /* waits as long as it takes */
    CHECK(!pthread_join(thread, NULL));
    CHECK(equal(wait.busy, wait.free));
    plp_model_free(wait.free);
    plp_model_free(wait.busy);
}

/* All entries at one moment, and all or none. */
static void test_state(void)
{
    plp_model_options options = small_network();
    plp_model *model = small_model(), *other = NULL;
    options.seed = 77;
    OK(plp_model_create(&options, &other));
    plp_model_info info = {.struct_size = sizeof info};
    OK(plp_model_describe(model, &info));
    void **values = calloc((size_t)info.entry_count, sizeof *values);
    size_t *bytes = calloc((size_t)info.entry_count, sizeof *bytes);
    for (int64_t i = 0; i < info.entry_count; i++) {
        plp_entry entry = {.struct_size = sizeof entry};
        OK(plp_model_entry(model, i, &entry));
        bytes[i] = entry.bytes;
        values[i] = calloc(1, entry.bytes);
    }
    OK(plp_model_get_state(model, values, bytes));
    CHECK(!equal(model, other));
    bytes[info.entry_count - 1]--;
    INVALID(plp_model_set_state(other, (const void *const *)values, bytes), "bytes: found");
    INVALID(plp_model_get_state(other, values, bytes), "bytes: found");
    bytes[info.entry_count - 1]++;
    void *last = values[info.entry_count - 1];
    values[info.entry_count - 1] = NULL;
    INVALID(plp_model_set_state(other, (const void *const *)values, bytes), "]: found NULL");
    values[info.entry_count - 1] = last;
    INVALID(plp_model_set_state(other, NULL, bytes), "values: found NULL");
    INVALID(plp_model_get_state(other, values, NULL), "bytes: found NULL");
    CHECK(!equal(model, other));
    OK(plp_model_set_state(other, (const void *const *)values, bytes));
    CHECK(equal(model, other));
    for (int64_t i = 0; i < info.entry_count; i++)
        free(values[i]);
    free(bytes);
    free(values);
    plp_model_free(other);
    plp_model_free(model);
}

/* Trainers in two threads at once, on one dataset, come to what one alone comes to. */
static plp_dataset *shared;

static void *train_alone(void *model)
{
    plp_trainer *trainer = small_trainer(model);
    const plp_fit_options options = fit_options(1, 0.2);
    plp_status status = plp_trainer_fit(trainer, shared, &options);
    plp_trainer_free(trainer);
    return status ? NULL : model;
}

static void test_threads(plp_dataset *train)
{
    plp_model *models[] = {small_model(), small_model(), small_model()};
    pthread_t threads[2];
    shared = train;
    CHECK(train_alone(models[2]));
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_create(&threads[i], NULL, train_alone, models[i]));
    for (int i = 0; i < 2; i++) {
        void *trained = NULL;
        CHECK(!pthread_join(threads[i], &trained) && trained);
        CHECK(equal(models[i], models[2]));
    }
    for (int i = 0; i < 3; i++)
        plp_model_free(models[i]);
}

#ifndef SANITIZED /* whose allocator's locks stay locked in a child, where another thread held them */
/* Children forked at any moment of another thread's training come to the same, what it is training apart. */
typedef struct fit {
    plp_model *model;
    plp_trainer *trainer;
    atomic_bool is_running, is_enough;
} fit;

static int go_on_until_enough(const plp_progress *progress, void *user_data)
{
    (void)progress;
    fit *fit = user_data;
    fit->is_running = true;
    return fit->is_enough;
}

static void *train_until_enough(void *user_data)
{
    fit *fit = user_data;
    plp_fit_options options = fit_options(25000, 0);
    options.callback = go_on_until_enough;
    options.user_data = fit;
    OK(plp_trainer_fit(fit->trainer, shared, &options));
    return NULL;
}

static void test_forks(plp_dataset *train)
{
    shared = train;
    plp_model *expected = small_model();
    CHECK(train_alone(expected));
    plp_model *model = small_model();
    fit fit = {model, small_trainer(model), false, false};
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, train_until_enough, &fit));
    while (!fit.is_running)
        usleep(100);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            failures = 0;
            plp_metrics metrics;
            INVALID(plp_trainer_evaluate(fit.trainer, train, NULL, NULL, &metrics), "when this process was forked");
            INVALID(plp_model_evaluate(fit.model, train, 1, NULL, NULL, &metrics), "when this process was forked");
            plp_trainer_free(fit.trainer);
            plp_model *mine = small_model();
            CHECK(train_alone(mine) && equal(mine, expected));
            _exit(failures != 0);
        }
        int status = -1;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        usleep(1000 * i);
    }
    fit.is_enough = true;
    CHECK(!pthread_join(thread, NULL));
    plp_trainer_free(fit.trainer);
    plp_model_free(fit.model);
    plp_model_free(expected);
}
#endif

/* ---- The bare formula -------------------------------------------------------------------------------------------- */

static void test_predict(void)
{
    enum { COUNT = 1001 };
    static float one[COUNT], two[COUNT], three[COUNT], result[COUNT];
    for (int i = 0; i < COUNT; i++) {
        one[i] = sinf((float)i);
        two[i] = one[i] + 0.1f * cosf((float)i);
        three[i] = two[i] + 0.05f;
    }
    const float *vectors[] = {one, two, three};
    OK(plp_predict(vectors, NULL, 3, COUNT, result));
    for (int i = 0; i < COUNT; i++)
        CHECK(result[i] == three[i] + 0.5f * (two[i] - one[i]));
    const double coefficients[] = {-1, 0.5, 1.5};
    OK(plp_predict(vectors, coefficients, 3, COUNT, three)); /* in place */
    for (int i = 0; i < COUNT; i++)
        CHECK(fabs(three[i] - (1.5 * (two[i] + 0.05f) + 0.5 * two[i] - one[i])) < 1e-6);
    OK(plp_predict(vectors, NULL, 3, 0, result));

    result[0] = -7;
    const double wrong[] = {1, NAN, 1}, huge[] = {1, 1e300, 1};
    const float *missing[] = {one, NULL, three};
    INVALID(plp_predict(NULL, NULL, 3, COUNT, result), "vectors: found NULL");
    INVALID(plp_predict(missing, NULL, 3, COUNT, result), "vectors[1]: found NULL");
    INVALID(plp_predict(vectors, NULL, 2, COUNT, result), "found");
    INVALID(plp_predict(vectors, coefficients, 0, COUNT, result), "vector_count: found 0");
    INVALID(plp_predict(vectors, coefficients, -1, COUNT, result), "vector_count");
    INVALID(plp_predict(vectors, coefficients, INT64_MAX, COUNT, result), "vector_count");
    INVALID(plp_predict(vectors, coefficients, 3, -1, result), "count: found -1");
    INVALID(plp_predict(vectors, coefficients, 3, INT64_MAX, result), "count");
    INVALID(plp_predict(vectors, wrong, 3, COUNT, result), "coefficients");
    INVALID(plp_predict(vectors, huge, 3, COUNT, result), "coefficients");
    INVALID(plp_predict(vectors, NULL, 3, COUNT, NULL), "result: found NULL");
    CHECK(result[0] == -7);

    /* Memory that overlaps an iterate in part, to either side. */
    static float memory[2 * COUNT];
    const float *overlapped[] = {one, memory + COUNT / 2, three};
    INVALID(plp_predict(overlapped, NULL, 3, COUNT, memory + COUNT / 2 + 1), "result: found memory 4 bytes");
    INVALID(plp_predict(overlapped, NULL, 3, COUNT, memory), "beside iterate 2's");
    CHECK(memory[COUNT / 2 + 1] == 0);
    overlapped[1] = memory + COUNT;
    OK(plp_predict(overlapped, NULL, 3, COUNT, memory)); /* side by side */
}

/* ---- Stack ------------------------------------------------------------------------------------------------------- */

#ifndef SANITIZED /* which makes this program's own frames larger */
/* Calls that go deep, on a network of each kind. */
static void *call_all(void *dataset)
{
    const char *networks[] = {"resnet18", "vgg16", "googlenet"};
    for (int i = 0; i < 3; i++) {
        plp_model_options options = small_network();
        options.architecture = networks[i];
        plp_model *model = NULL, *loaded = NULL, *best = NULL;
        OK(plp_model_create(&options, &model));
        plp_trainer *trainer = small_trainer(model);
        plp_fit_options fit = fit_options(1, 0.2);
        fit.test = dataset;
        OK(plp_trainer_fit(trainer, dataset, &fit));
        OK(plp_trainer_save(trainer, file("deep")));
        OK(plp_trainer_restore(trainer, file("deep")));
        OK(plp_trainer_best_model(trainer, &best));
        OK(plp_model_save(model, file("deep")));
        OK(plp_model_load(file("deep"), &loaded));
        plp_metrics metrics;
        OK(plp_model_evaluate(loaded, dataset, 2, NULL, NULL, &metrics));
        OK(plp_trainer_evaluate(trainer, dataset, NULL, NULL, &metrics));
        plp_dataset_info info = {.struct_size = sizeof info};
        OK(plp_dataset_describe(dataset, &info));
        float *logits = malloc(sizeof(float) * 100 * (size_t)info.count);
        OK(plp_model_logits(model, info.images, PLP_UINT8, info.count, 64, logits));
        free(logits);
        plp_trainer_free(trainer);
        plp_model_free(best);
        plp_model_free(loaded);
        plp_model_free(model);
    }
    static const float values[16], *vectors[1000];
    static double coefficients[1000];
    for (int i = 0; i < 1000; i++)
        vectors[i] = values;
    float result[16];
    OK(plp_predict(vectors, coefficients, 1000, 16, result));
    plp_dataset *none = NULL;
    FAILS(plp_dataset_cifar100(folder, PLP_SPLIT_TEST, PLP_LABELS_FINE, &none), PLP_ERROR_NOT_FOUND, folder);
    return NULL;
}

/* No call needs more than the 128 KiB that plp.h tells of: so much of a thread's larger stack stays untouched. */
static void test_stack(plp_dataset *train)
{
    enum { SIZE = 1 << 20, PROMISED = 128 << 10, MARK = 0xa5 };
    uint8_t *stack = aligned_alloc(4096, SIZE);
    memset(stack, MARK, SIZE);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(!pthread_attr_init(&attributes) && !pthread_attr_setstack(&attributes, stack, SIZE));
    CHECK(!pthread_create(&thread, &attributes, call_all, train) && !pthread_join(thread, NULL));
    int untouched = 0;
    while (untouched < SIZE && stack[untouched] == MARK)
        untouched++;
    CHECK(SIZE - untouched <= PROMISED);
    pthread_attr_destroy(&attributes);
    free(stack);
}
#endif

/* What several threads do at a time, but for what the thread sanitizer, which slows kernels by far, would take minutes for. */
static void test_threads_at_once(plp_dataset *train)
{
    test_visits_to_a_fit(train);
    test_freed_while_used(train);
    test_evaluation_of_a_moment();
    test_threads(train);
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: %s FOLDER [threads]\n", arguments[0]);
        return 2;
    }
    folder = arguments[1];
    if (count > 2) {
        plp_dataset *data = synthetic(PLP_SPLIT_TRAIN, 90);
        test_threads_at_once(data);
        plp_dataset_free(data);
        printf("C ABI: %d checks, %d failed\n", checks, failures);
        return failures != 0;
    }
    test_process();
    test_synthetic();
    test_arrays();
    test_files();
    test_cifar100();
    test_model_options();
    test_architectures();

    plp_dataset *train = synthetic(PLP_SPLIT_TRAIN, 90), *test = synthetic(PLP_SPLIT_TEST, 40);
    plp_model *model = small_model();
    plp_trainer *trainer = small_trainer(model);
    test_handles(train, model, trainer);
    test_structs(train, model, trainer);
    test_entries(model);
    test_logits();
    test_image_size();
    test_model_files(model);
    test_permissions(model);
    test_killed_saves(model);
    test_modes(model);
    test_folders_that_are_not_flushed(model);
    test_trainer_options(model);
    test_predictor_options();
    test_predictor();
    test_fit(train, test);
    test_stop_and_resume(train);
    test_finish(train, test);
    test_steps();
    test_watch();
    test_not_finite(train);
    test_too_many_classes(train);
    test_state();
    test_threads_at_once(train);
    test_server(train);
    test_interrupted_wait();
#ifndef SANITIZED
    test_forks(train);
    test_stack(train);
#endif
    test_predict();
    test_signals();
    plp_trainer_free(trainer);
    plp_model_free(model);
    plp_dataset_free(test);
    plp_dataset_free(train);

    printf("C ABI: %d checks, %d failed\n", checks, failures);
    return failures != 0;
}
