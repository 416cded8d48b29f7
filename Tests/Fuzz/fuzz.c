/*
 * Fuzzing by libFuzzer: whatever a file or a state holds, and whatever is called in whatever order, the library answers,
 * and never ends the process. PLP_FUZZ names the target, one of `targets` below; with PLP_FUZZ_SEEDS its seed, which the
 * library writes itself, is put into that folder. See run.sh.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <plp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "%d: %s: %s\n", __LINE__, #condition, plp_last_error_message()), abort()))

/* A part of a file, and where it lies in it. */
typedef struct part {
    const void *bytes;
    size_t count;
    size_t place;
} part;

/* See Pickle/ReadPickle.swift. */
void read_pickle(const void *bytes, size_t count);

static char folder[4096];

/* The path of a file in the fuzzer's folder. One at a time. */
static const char *file(const char *name)
{
    static char path[sizeof folder + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Makes a file of parts, with zeros between them, and returns its path. */
static const char *file_of(const char *name, const part *parts, size_t count)
{
    const char *path = file(name);
    int number = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(number >= 0);
    for (size_t i = 0; i < count; i++)
        CHECK(pwrite(number, parts[i].bytes, parts[i].count, (off_t)parts[i].place) == (ssize_t)parts[i].count);
    CHECK(!close(number));
    return path;
}

/* What a file holds, the caller's to free. */
static uint8_t *contents(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    CHECK(stream && !fseek(stream, 0, SEEK_END));
    *size = (size_t)ftell(stream);
    uint8_t *bytes = malloc(*size + 1);
    rewind(stream);
    CHECK(bytes && fread(bytes, 1, *size, stream) == *size && !fclose(stream));
    return bytes;
}

static void write_seed(const char *seeds, const void *bytes, size_t count)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/seed", seeds);
    FILE *stream = fopen(path, "wb");
    CHECK(stream && fwrite(bytes, 1, count, stream) == count && !fclose(stream));
}

/* ---- What is fuzzed ---------------------------------------------------------------------------------------------- */

enum { CLASSES = 2, SIZE = 16, LARGE = 32, BATCH = 2, COUNT = 4 };

static plp_model *new_model(void)
{
    plp_model_options options;
    plp_model *model = NULL;
    CHECK(!plp_model_options_init(&options, sizeof options));
    options.width = 0.01;
    options.classes = CLASSES;
    options.image_size = SIZE;
    CHECK(!plp_model_create(&options, &model));
    return model;
}

static plp_trainer *new_trainer(plp_model *model)
{
    plp_predictor_options predictor;
    plp_trainer_options options;
    plp_trainer *trainer = NULL;
    CHECK(!plp_predictor_options_init(&predictor, sizeof predictor, PLP_PREDICTOR_PLP));
    CHECK(!plp_trainer_options_init(&options, sizeof options));
    options.predictor = options.watch = &predictor;
    options.batch_size = BATCH;
    options.threads = 1;
    CHECK(!plp_trainer_create(model, &options, &trainer));
    return trainer;
}

static plp_predictor *new_predictor(void)
{
    plp_predictor_options options;
    plp_predictor *predictor = NULL;
    const float parameters[COUNT] = {1, 2, 3, 4};
    CHECK(!plp_predictor_options_init(&options, sizeof options, PLP_PREDICTOR_PLP));
    CHECK(!plp_predictor_create(&options, parameters, COUNT, &predictor));
    return predictor;
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

/* A safetensors file that the library wrote, whose header is the input's: what lies behind it stays. */
static uint8_t *written;
static size_t written_size, tensors;

/* Takes a file for `with_header`, and makes its header a seed. */
static void take(const char *path, const char *seeds)
{
    uint64_t length;
    written = contents(path, &written_size);
    memcpy(&length, written, sizeof length);
    tensors = 8 + (size_t)length;
    if (seeds)
        write_seed(seeds, written + 8, (size_t)length);
}

static const char *with_header(const uint8_t *data, size_t size)
{
    const uint64_t length = size;
    const part parts[] = {{&length, 8, 0}, {data, size, 8}, {written + tensors, written_size - tensors, 8 + size}};
    return file_of("file", parts, 3);
}

static void load(const char *path)
{
    plp_model *model = NULL;
    if (!plp_model_load(path, &model)) {
        plp_model_info info = {.struct_size = sizeof info};
        CHECK(!plp_model_describe(model, &info));
        CHECK(!plp_model_save(model, file("again")));
    } else
        CHECK(*plp_last_error_message() && !model);
    plp_model_free(model);
}

static void begin_model(const char *seeds)
{
    plp_model *model = new_model();
    CHECK(!plp_model_save(model, file("file")));
    take(file("file"), seeds);
    plp_model_free(model);
}

static void run_model(const uint8_t *data, size_t size) { load(with_header(data, size)); }

/* The file as a whole, of one tensor, so that it is short. */
static void begin_safetensors(const char *seeds)
{
    static const char tensor[] =
        "\x43\0\0\0\0\0\0\0{\"conv1.0.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}12345678";
    if (seeds)
        write_seed(seeds, tensor, sizeof tensor - 1);
}

static void run_safetensors(const uint8_t *data, size_t size)
{
    const part whole = {data, size, 0};
    load(file_of("file", &whole, 1));
}

static plp_trainer *restored;

static void begin_checkpoint(const char *seeds)
{
    plp_model *model = new_model();
    plp_dataset *dataset = NULL;
    plp_fit_options fit;
    restored = new_trainer(model);
    static const uint8_t images[4 * 3 * SIZE * SIZE];
    CHECK(!plp_dataset_from_arrays(images, (int32_t[]){0, 1, 0, 1}, 4, SIZE, CLASSES, NULL, &dataset));
    CHECK(!plp_fit_options_init(&fit, sizeof fit));
    fit.validation_fraction = 0.5;
    CHECK(!plp_trainer_fit(restored, dataset, &fit));
    CHECK(!plp_trainer_save(restored, file("file")));
    take(file("file"), seeds);
    plp_dataset_free(dataset);
    plp_model_free(model);
}

/* Into the same trainer, always: what is refused leaves it as it was. */
static void run_checkpoint(const uint8_t *data, size_t size)
{
    if (!plp_trainer_restore(restored, with_header(data, size))) {
        plp_history history = {.struct_size = sizeof history};
        plp_epoch epoch = {.struct_size = sizeof epoch};
        plp_model *best = NULL;
        CHECK(!plp_trainer_epochs(restored, &history, &epoch, 1));
        CHECK(!plp_trainer_best_model(restored, &best));
        CHECK(!plp_trainer_save(restored, file("again")));
        CHECK(!plp_trainer_restore(restored, file("again")));
        plp_model_free(best);
    } else
        CHECK(*plp_last_error_message());
}

/* CIFAR-100's Python layout. Behind the instruction that says so come the 10,000 images, which are not the input's: they
   are zeros. See seeds.py. */
static void run_cifar(const uint8_t *data, size_t size)
{
    static const uint8_t images[] = {'T', 0x00, 0xc0, 0xd4, 0x01};
    const uint8_t *found = memmem(data, size, images, sizeof images);
    const size_t head = found ? (size_t)(found - data) + sizeof images : size;
    const part parts[] = {{data, head, 0}, {data + head, size - head, head + 10000 * 3072}};
    plp_dataset *dataset = NULL;
    const char *name = NULL;
    file_of("test", parts, 2);
    if (!plp_dataset_cifar100(folder, PLP_SPLIT_TEST, PLP_LABELS_FINE, &dataset))
        CHECK(!plp_dataset_label_name(dataset, 0, &name));
    plp_dataset_free(dataset);
}

static void run_pickle(const uint8_t *data, size_t size) { read_pickle(data, size); }

static void begin_predictor(const char *seeds)
{
    uint8_t state[1024];
    size_t count = 0;
    plp_predictor *predictor = new_predictor();
    CHECK(!plp_predictor_state_size(predictor, &count) && count <= sizeof state);
    CHECK(!plp_predictor_get_state(predictor, state, count));
    if (seeds)
        write_seed(seeds, state, count);
    plp_predictor_free(predictor);
}

static void run_predictor(const uint8_t *data, size_t size)
{
    plp_predictor *predictor = new_predictor();
    if (!plp_predictor_set_state(predictor, data, size)) {
        float parameters[COUNT] = {1, 2, 3, 4};
        for (int i = 0; i < 5; i++)
            CHECK(!plp_predictor_after_step(predictor, parameters, NULL));
    }
    plp_predictor_free(predictor);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

static const uint8_t *input;
static size_t left;

static void next(void *bytes, size_t count)
{
    const size_t some = count < left ? count : left;
    memset(bytes, 0, count);
    memcpy(bytes, input, some);
    input += some;
    left -= some;
}

static uint8_t byte(void)
{
    uint8_t value;
    return next(&value, 1), value;
}

/* A number near 0, or one of those at which arithmetic ends. */
static int64_t number(void)
{
    static const int64_t ends[] = {INT64_MIN, INT64_MAX, INT32_MIN, INT32_MAX, UINT32_MAX, 1LL << 62, 1000000000, 65536};
    const uint8_t value = byte();
    return value < 248 ? value % 8 - 1 : ends[value - 248];
}

/* One of two handles of a kind, or NULL. Freed ones stay where they were. */
#define SOME(handles) ((handles)[byte() % 3])

static plp_model *models[3];
static plp_trainer *trainers[3];
static plp_predictor *predictors[3];
static plp_dataset *datasets[3];

/* Where a new handle goes: in place of one that is freed first. */
#define NEW(type, handles) (plp_##type##_free((handles)[some]), &(handles)[some])

/* Options may be anything, but for pointers, and for sizes that would take long. */
static void create_model(int some)
{
    plp_model_options options;
    CHECK(!plp_model_options_init(&options, sizeof options));
    if (byte() & 1)
        next((char *)&options + sizeof options.struct_size, sizeof options - sizeof options.struct_size);
    options.architecture = (const char *[]){"resnet18", "vgg16", "googlenet", "", NULL}[byte() % 5];
    options.dropout = NULL;
    options.trained_on = NULL;
    if (!(options.width <= 0.05))
        options.width = 0.01;
    if (options.image_size > LARGE)
        options.image_size = SIZE;
    if (options.classes > 10)
        options.classes = CLASSES;
    plp_model_create(&options, NEW(model, models));
}

static void create_trainer(int some)
{
    plp_predictor_options predictor;
    plp_optimizer_options optimizer;
    plp_trainer_options options;
    CHECK(!plp_trainer_options_init(&options, sizeof options));
    CHECK(!plp_predictor_options_init(&predictor, sizeof predictor, byte() % 4));
    CHECK(!plp_optimizer_options_init(&optimizer, sizeof optimizer, byte() % 2));
    const uint8_t which = byte();
    if (which & 1)
        next((char *)&options + sizeof options.struct_size, sizeof options - sizeof options.struct_size);
    if (which & 2)
        next((char *)&predictor + sizeof predictor.struct_size, sizeof predictor - sizeof predictor.struct_size);
    if (which & 4)
        next((char *)&optimizer + sizeof optimizer.struct_size, sizeof optimizer - sizeof optimizer.struct_size);
    predictor.coefficients = NULL;
    options.optimizer = which & 8 ? &optimizer : NULL;
    options.predictor = which & 16 ? &predictor : NULL;
    options.watch = which & 32 ? &predictor : NULL;
    options.milestones = NULL;
    if (options.batch_size > 4)
        options.batch_size = BATCH;
    if (options.threads > 2)
        options.threads = 1;
    plp_trainer_create(SOME(models), &options, NEW(trainer, trainers));
}

static void create_predictor(int some)
{
    static const float parameters[COUNT] = {1, 2, 3, 4};
    plp_predictor_options options;
    CHECK(!plp_predictor_options_init(&options, sizeof options, byte() % 4));
    if (byte() & 1)
        next((char *)&options + sizeof options.struct_size, sizeof options - sizeof options.struct_size);
    options.coefficients = NULL;
    plp_predictor_create(&options, parameters, COUNT, NEW(predictor, predictors));
}

static int reply(const plp_progress *progress, void *user_data)
{
    (void)progress, (void)user_data;
    return byte() % 8 < 5 ? PLP_PROCEED : byte();
}

static void fit(void)
{
    plp_fit_options options;
    CHECK(!plp_fit_options_init(&options, sizeof options));
    options.epochs = number();
    if (options.epochs > 3)
        options.epochs = 1;
    options.validation_fraction = byte() & 1 ? 0 : byte() / 200.0;
    options.validation = SOME(datasets);
    options.test = SOME(datasets);
    options.callback = byte() & 1 ? reply : NULL;
    plp_trainer_fit(SOME(trainers), SOME(datasets), &options);
}

static void run_calls(const uint8_t *data, size_t size)
{
    static float images[BATCH * 3 * LARGE * LARGE], values[4096], logits[BATCH * 10];
    static uint8_t bytes[4 * 3 * SIZE * SIZE], state[1024];
    input = data;
    left = size;
    for (int calls = 0; left && calls < 40; calls++) {
        const int some = byte() % 2;
        int32_t labels[4] = {byte() % 4 - 1, byte() % 2, 0, 1};
        plp_metrics metrics;
        plp_model_info model_info = {.struct_size = sizeof model_info};
        plp_dataset_info dataset_info = {.struct_size = sizeof dataset_info};
        plp_history history = {.struct_size = sizeof history};
        plp_entry entry = {.struct_size = sizeof entry};
        plp_epoch epochs[3] = {{.struct_size = sizeof *epochs}};
        plp_watched watched = {.struct_size = sizeof watched};
        plp_profile_entry profile[3] = {{.struct_size = sizeof *profile}};
        plp_move moves[3 * 256];
        int64_t count = 0;
        size_t length = 0;
        const char *name = NULL;
        plp_model *best = NULL;
        switch (byte() % 40) {
        case 0: create_model(some); break;
        case 1: create_trainer(some); break;
        case 2: create_predictor(some); break;
        case 3: plp_dataset_synthetic(byte() % 3, number() % 8, byte(), NEW(dataset, datasets)); break;
        case 4: plp_dataset_from_arrays(bytes, labels, number() % 5, SIZE, number(), NULL, NEW(dataset, datasets)); break;
        case 5: plp_model_free(SOME(models)); break;
        case 6: plp_trainer_free(SOME(trainers)); break;
        case 7: plp_predictor_free(SOME(predictors)); break;
        case 8: plp_dataset_free(SOME(datasets)); break;
        case 9: plp_model_free((plp_model *)SOME(trainers)); break;
        case 10: plp_model_describe(SOME(models), &model_info); break;
        case 11: plp_dataset_describe(SOME(datasets), &dataset_info); break;
        case 12: plp_dataset_label_name(SOME(datasets), number(), &name); break;
        case 13: plp_model_entry(SOME(models), number(), &entry); break;
        case 14: plp_model_find_entry(SOME(models), (const char *[]){"", "conv1.0.weight", "fc.bias"}[byte() % 3], &count); break;
        case 15: plp_model_get_values(SOME(models), number(), values, byte() * 4u); break;
        case 16: plp_model_set_values(SOME(models), number(), values, byte() * 4u); break;
        case 17: plp_model_logits(SOME(models), images, byte() % 3, number() % 3, number() % 3, logits); break;
        case 18: plp_model_evaluate(SOME(models), SOME(datasets), number() % 3, byte() & 1 ? reply : NULL, NULL, &metrics); break;
        case 19: plp_model_save(SOME(models), file(some ? "calls" : "again")); break;
        case 20: plp_model_load(file(some ? "calls" : "again"), NEW(model, models)); break;
        case 21: plp_predictor_after_step(SOME(predictors), values, NULL); break;
        case 22: plp_predictor_average(SOME(predictors), values); break;
        case 23: plp_predictor_state_size(SOME(predictors), &length); break;
        case 24: plp_predictor_get_state(SOME(predictors), state, byte()); break;
        case 25: plp_predictor_set_state(SOME(predictors), state, byte()); break;
        case 26: plp_trainer_step(SOME(trainers), images, byte() % 3, labels, number() % 3, &metrics); break;
        case 27: plp_trainer_gradients(SOME(trainers), images, byte() % 3, labels, number() % 3, &metrics, byte() & 1 ? values : NULL, byte() * 4u); break;
        case 28: plp_trainer_get_gradient(SOME(trainers), number(), values, byte() * 4u); break;
        case 29: plp_trainer_evaluate(SOME(trainers), SOME(datasets), byte() & 1 ? reply : NULL, NULL, &metrics); break;
        case 30: plp_trainer_best_model(SOME(trainers), &best); plp_model_free(best); break;
        case 31: plp_trainer_history(SOME(trainers), &history); break;
        case 32: plp_trainer_epochs(SOME(trainers), &history, epochs, number() % 4); break;
        case 33: plp_trainer_watched(SOME(trainers), &watched); break;
        case 34: watched.cycles = number() % 4; watched.iterations = number(); plp_trainer_records(SOME(trainers), &watched, moves, NULL, NULL); break;
        case 35: plp_trainer_profile(SOME(trainers), number(), number() % 4, profile); break;
        case 36: plp_trainer_save(SOME(trainers), file(some ? "calls" : "again")); break;
        case 37: plp_trainer_restore(SOME(trainers), file(some ? "calls" : "again")); break;
        default: fit(); break;
        }
    }
    for (int i = 0; i < 3; i++) {
        plp_trainer_free(trainers[i]), trainers[i] = NULL;
        plp_model_free(models[i]), models[i] = NULL;
        plp_predictor_free(predictors[i]), predictors[i] = NULL;
        plp_dataset_free(datasets[i]), datasets[i] = NULL;
    }
    unlink(file("calls"));
    unlink(file("again"));
}

/* ---- Targets ----------------------------------------------------------------------------------------------------- */

static void begin_without(const char *seeds) { (void)seeds; }

static const struct target {
    const char *name;
    void (*begin)(const char *seeds);
    void (*run)(const uint8_t *data, size_t size);
} targets[] = {{"pickle", begin_without, run_pickle},
               {"cifar", begin_without, run_cifar},
               {"safetensors", begin_safetensors, run_safetensors},
               {"model", begin_model, run_model},
               {"checkpoint", begin_checkpoint, run_checkpoint},
               {"predictor", begin_predictor, run_predictor},
               {"calls", begin_without, run_calls}};
static const struct target *target;

static void finish(void)
{
    static const char *names[] = {"file", "again", "calls", "test"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(file(names[i]));
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *name = getenv("PLP_FUZZ"), *temporary = getenv("TMPDIR");
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (name && !strcmp(name, targets[i].name))
            target = &targets[i];
    if (!target) {
        fprintf(stderr, "PLP_FUZZ: found %s, expected a target's name\n", name ? name : "nothing");
        exit(2);
    }
    snprintf(folder, sizeof folder, "%s/plp-fuzz-XXXXXX", temporary ? temporary : "/tmp");
    CHECK(mkdtemp(folder));
    atexit(finish);
    target->begin(getenv("PLP_FUZZ_SEEDS"));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    target->run(data, size);
    return 0;
}
