/*
 * The C ABI, as Python sees it: one function here for one there, with the same meaning and order of arguments.
 *
 * Handles are capsules, freed with their last reference. Options come as dicts whose keys are the structs' fields.
 * Arrays come and go through the buffer protocol, without copies; what their shapes and dtypes must be is checked in
 * Python, what the library was promised in bytes here. The interpreter's lock is released whenever the library works.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <plp.h>
#include <stdbool.h>
#include <string.h>

/* ---- Errors ------------------------------------------------------------------------------------------------------ */

static PyObject *Error; /* plp.Error: what none of Python's own exceptions says */

static PyObject *exception_of(plp_status status)
{
    switch (status) {
    case PLP_ERROR_INVALID_ARGUMENT: return PyExc_ValueError;
    case PLP_ERROR_OUT_OF_MEMORY: return PyExc_MemoryError;
    default: return Error;
    }
}

/* Sets the exception for a failure; false where there is none. */
static bool failed(plp_status status)
{
    if (status == PLP_OK)
        return false;
    if (status == PLP_ERROR_INTERRUPTED) /* which left Ctrl-C's exception, or what else a signal's handler raised */
        return true;
    const char *message = plp_last_error_message(), *path = plp_last_error_path();
    if (!path) {
        PyErr_SetString(exception_of(status), message);
        return true;
    }
    /* As Python's own: OSError chooses the class that fits errno, and shows the path itself, which is in front of the
       message, and longer there where something is escaped. */
    PyObject *error = PyObject_CallFunction(PyExc_OSError, "isN", plp_last_error_number(),
                                            strstr(message + strlen(path), ": ") + 2, PyUnicode_DecodeFSDefault(path));
    if (error) {
        PyErr_SetObject(PyExc_OSError, error);
        Py_DECREF(error);
    }
    return true;
}

/* Looks for Ctrl-C while a call waits for another thread's. A callback may have left an exception, which signals' handlers
   must not find; theirs goes before it. */
static int on_wait(void *user_data)
{
    PyThreadState **state = user_data;
    PyObject *type, *value, *traceback;
    PyEval_RestoreThread(*state);
    PyErr_Fetch(&type, &value, &traceback);
    const int interrupted = PyErr_CheckSignals();
    if (interrupted) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    } else
        PyErr_Restore(type, value, traceback);
    *state = PyEval_SaveThread();
    return interrupted;
}

/* Runs a call of the library with the interpreter's lock released. `state` is where this thread's is meanwhile. */
#define UNLOCKED_BY(state, call)               \
    do {                                       \
        (state) = PyEval_SaveThread();         \
        plp_set_wait_callback(on_wait, &(state)); \
        call;                                  \
        plp_set_wait_callback(NULL, NULL);     \
        PyEval_RestoreThread(state);           \
    } while (0)

#define UNLOCKED(call)                \
    do {                              \
        PyThreadState *own_state;     \
        UNLOCKED_BY(own_state, call); \
    } while (0)

static PyObject *none_or_error(plp_status status)
{
    if (failed(status))
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Handles ----------------------------------------------------------------------------------------------------- */

#define HANDLE(kind)                                                                           \
    static void kind##_destroy(PyObject *capsule)                                              \
    {                                                                                          \
        plp_##kind##_free(PyCapsule_GetPointer(capsule, #kind));                               \
    }                                                                                          \
    static PyObject *kind##_wrap(plp_status status, plp_##kind *handle)                        \
    {                                                                                          \
        return failed(status) ? NULL : PyCapsule_New(handle, #kind, kind##_destroy);           \
    }                                                                                          \
    /* For PyArg_ParseTuple's O& */                                                            \
    static int kind##_of(PyObject *capsule, void *handle)                                      \
    {                                                                                          \
        *(void **)handle = PyCapsule_GetPointer(capsule, #kind);                               \
        return *(void **)handle != NULL;                                                       \
    }

HANDLE(dataset)
HANDLE(model)
HANDLE(predictor)
HANDLE(trainer)

/* ---- Options ----------------------------------------------------------------------------------------------------- */

typedef enum { INT, INT64, UINT64, DOUBLE, DOUBLE_OR_NULL, FLOAT3, STRING, DOUBLES, INT64S } field_type;

static const char *const expectations[] = {
    [INT] = "True or False",
    [INT64] = "a whole number",
    [UINT64] = "a whole number from 0 to 2**64 - 1",
    [DOUBLE] = "a number",
    [DOUBLE_OR_NULL] = "a number",
    [FLOAT3] = "three numbers, for red, green and blue",
    [STRING] = "a text without NUL characters",
    [DOUBLES] = "numbers",
    [INT64S] = "whole numbers",
};

typedef struct {
    const char *name;
    field_type type;
    size_t offset;
    size_t count_offset; /* DOUBLES, INT64S: of the field that holds the number of elements */
} field;

typedef struct held_array {
    Py_buffer array;
    struct held_array *next;
} held_array;

/* What pointers in structs of options point to, for as long as the call takes. */
typedef struct {
    held_array *arrays; /* as many as the structs of a call have: milestones, coefficients of each predictor */
    double number;
} backing;

static bool set_array(const field *field, char *options, PyObject *value, backing *backing, size_t item)
{
    held_array *held = PyMem_Malloc(sizeof *held);
    if (!held || PyObject_GetBuffer(value, &held->array, PyBUF_SIMPLE) < 0)
        return PyMem_Free(held), false;
    held->next = backing->arrays;
    backing->arrays = held;
    *(const void **)(options + field->offset) = held->array.buf;
    *(int64_t *)(options + field->count_offset) = held->array.len / (Py_ssize_t)item;
    return true;
}

static bool set_field(const field *field, char *options, PyObject *value, backing *backing)
{
    void *target = options + field->offset;
    Py_ssize_t length;
    switch (field->type) {
    case INT: return PyArg_Parse(value, "i", target); /* which fails where an int is too small */
    case INT64: *(int64_t *)target = PyLong_AsLongLong(value); break;
    case UINT64: *(uint64_t *)target = PyLong_AsUnsignedLongLong(value); break;
    case DOUBLE: *(double *)target = PyFloat_AsDouble(value); break;
    case DOUBLE_OR_NULL:
        backing->number = PyFloat_AsDouble(value);
        *(const double **)target = &backing->number;
        break;
    case FLOAT3:
        return PyArg_ParseTuple(value, "fff", (float *)target, (float *)target + 1, (float *)target + 2);
    case STRING:
        *(const char **)target = PyUnicode_AsUTF8AndSize(value, &length);
        return *(const char **)target && strlen(*(const char **)target) == (size_t)length;
    case DOUBLES: return set_array(field, options, value, backing, sizeof(double));
    case INT64S: return set_array(field, options, value, backing, sizeof(int64_t));
    }
    return !PyErr_Occurred();
}

/* Overwrites defaults with the entries of a dict. */
static bool set_options(const field *fields, void *options, PyObject *dict, backing *backing)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        const field *field = fields;
        while (field->name && PyUnicode_CompareWithASCIIString(key, field->name) != 0)
            field++;
        if (!field->name) {
            PyErr_Format(PyExc_ValueError, "there is no option %R", key);
            return false;
        }
        if (!set_field(field, options, value, backing)) {
            bool is_larger = field->type == INT64 && PyErr_ExceptionMatches(PyExc_OverflowError);
            PyErr_Clear(); /* it does not name the option; this does */
            PyErr_Format(PyExc_ValueError, "%s is %R, expected %s", field->name, value,
                         is_larger ? "a whole number of at most 63 bits" : expectations[field->type]);
            return false;
        }
    }
    return true;
}

/* The entry of a struct of options, as set_field takes it; None for a pointer, which is NULL. */
static PyObject *get_field(const field *field, const char *options)
{
    const void *source = options + field->offset;
    switch (field->type) {
    case INT: return PyLong_FromLong(*(const int *)source);
    case INT64: return PyLong_FromLongLong(*(const int64_t *)source);
    case UINT64: return PyLong_FromUnsignedLongLong(*(const uint64_t *)source);
    case DOUBLE: return PyFloat_FromDouble(*(const double *)source);
    case FLOAT3: {
        const float *values = source;
        return Py_BuildValue("fff", values[0], values[1], values[2]);
    }
    case STRING: return Py_BuildValue("z", *(const char *const *)source);
    default: Py_RETURN_NONE;
    }
}

/* What set_options would have to set. */
static PyObject *get_options(const field *fields, const void *options)
{
    PyObject *dict = PyDict_New();
    for (const field *field = fields; dict && field->name; field++) {
        PyObject *value = get_field(field, options);
        if (!value || PyDict_SetItemString(dict, field->name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static void release(backing *backing)
{
    for (held_array *held = backing->arrays, *next; held; held = next) {
        next = held->next;
        PyBuffer_Release(&held->array);
        PyMem_Free(held);
    }
}

#define FIELD(type, name) {#name, type, offsetof(STRUCT, name), 0}
#define ARRAY(type, name, count) {#name, type, offsetof(STRUCT, name), offsetof(STRUCT, count)}

#define STRUCT plp_model_options
static const field model_fields[] = {
    FIELD(STRING, architecture), FIELD(INT64, classes), FIELD(INT64, image_size), FIELD(DOUBLE, width),
    FIELD(DOUBLE_OR_NULL, dropout), FIELD(INT, channel_count_epsilons), FIELD(UINT64, seed), FIELD(FLOAT3, mean),
    FIELD(FLOAT3, deviation), FIELD(STRING, trained_on), {NULL},
};
#undef STRUCT

#define STRUCT plp_trainer_options
static const field trainer_fields[] = {
    FIELD(INT, schedule), FIELD(DOUBLE, warmup_epochs), FIELD(DOUBLE, cyclic_peak), FIELD(INT64, cyclic_up),
    FIELD(INT64, cyclic_down), ARRAY(INT64S, milestones, milestone_count), FIELD(INT64, milestone_total),
    FIELD(DOUBLE, step_factor), FIELD(DOUBLE, cosine_floor), FIELD(INT64, watch_samples), FIELD(INT64, batch_size),
    FIELD(INT64, crop), FIELD(INT, flip), FIELD(DOUBLE, rotation), FIELD(UINT64, seed), FIELD(INT64, threads), {NULL},
};
#undef STRUCT

#define STRUCT plp_optimizer_options
static const field optimizer_fields[] = {
    FIELD(INT, kind), FIELD(DOUBLE, learning_rate), FIELD(DOUBLE, weight_decay), FIELD(DOUBLE, momentum),
    FIELD(INT, nesterov), FIELD(INT, demon), FIELD(DOUBLE, beta1), FIELD(DOUBLE, beta2), FIELD(DOUBLE, epsilon), {NULL},
};
#undef STRUCT

#define STRUCT plp_predictor_options
static const field predictor_fields[] = {
    FIELD(INT, kind), FIELD(INT64, period), FIELD(INT64, start), FIELD(INT64, end), FIELD(DOUBLE, step),
    ARRAY(DOUBLES, coefficients, coefficient_count), FIELD(DOUBLE, rate), FIELD(DOUBLE, decay), FIELD(INT, warmup),
    FIELD(INT, momentum), FIELD(INT, statistics), {NULL},
};
#undef STRUCT

/* The kind that a dict of options is of. */
static bool kind_of(PyObject *dict, int *kind)
{
    PyObject *value = PyDict_GetItemString(dict, "kind");
    *kind = -1;
    return !value || PyArg_Parse(value, "i", kind);
}

/* Fill `options` from a dict that names their kind. */
static bool set_optimizer(plp_optimizer_options *options, PyObject *dict, backing *backing)
{
    int kind;
    return kind_of(dict, &kind)
           && !failed(plp_optimizer_options_init(options, sizeof *options, (plp_optimizer_kind)kind))
           && set_options(optimizer_fields, options, dict, backing);
}

static bool set_predictor(plp_predictor_options *options, PyObject *dict, backing *backing)
{
    int kind;
    return kind_of(dict, &kind)
           && !failed(plp_predictor_options_init(options, sizeof *options, (plp_predictor_kind)kind))
           && set_options(predictor_fields, options, dict, backing);
}

/* The defaults of "model", "trainer", or of a kind of "optimizer" or "predictor". */
static PyObject *defaults(PyObject *module, PyObject *args)
{
    const char *of;
    int kind = 0;
    union {
        plp_model_options model;
        plp_trainer_options trainer;
        plp_optimizer_options optimizer;
        plp_predictor_options predictor;
    } options;
    if (!PyArg_ParseTuple(args, "s|i", &of, &kind))
        return NULL;
    if (!strcmp(of, "model"))
        return failed(plp_model_options_init(&options.model, sizeof options.model))
                   ? NULL : get_options(model_fields, &options);
    if (!strcmp(of, "trainer"))
        return failed(plp_trainer_options_init(&options.trainer, sizeof options.trainer))
                   ? NULL : get_options(trainer_fields, &options);
    if (!strcmp(of, "optimizer"))
        return failed(plp_optimizer_options_init(&options.optimizer, sizeof options.optimizer, (plp_optimizer_kind)kind))
                   ? NULL : get_options(optimizer_fields, &options);
    return failed(plp_predictor_options_init(&options.predictor, sizeof options.predictor, (plp_predictor_kind)kind))
               ? NULL : get_options(predictor_fields, &options);
}

/* ---- Arrays ------------------------------------------------------------------------------------------------------ */

/* A read-only array in a handle's own memory, which it keeps alive. */
typedef struct {
    PyObject_HEAD
    PyObject *owner;
    const void *data;
    const char *format;
    Py_ssize_t item, rank, shape[4], strides[4];
} Array;

static PyTypeObject *ArrayType;

static PyObject *array(PyObject *owner, const void *data, const char *format, Py_ssize_t item, Py_ssize_t rank,
                       const Py_ssize_t *shape)
{
    Array *self = PyObject_New(Array, ArrayType);
    if (!self)
        return NULL;
    Py_INCREF(owner);
    self->owner = owner;
    self->data = data;
    self->format = format;
    self->item = item;
    self->rank = rank;
    for (Py_ssize_t i = rank, stride = item; i-- > 0; stride *= shape[i]) {
        self->shape[i] = shape[i];
        self->strides[i] = stride;
    }
    return (PyObject *)self;
}

static int array_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    Array *self = (Array *)object;
    Py_ssize_t bytes = self->item;
    for (Py_ssize_t i = 0; i < self->rank; i++)
        bytes *= self->shape[i];
    if (PyBuffer_FillInfo(view, object, (void *)self->data, bytes, 1, flags) < 0)
        return -1;
    view->itemsize = self->item;
    view->format = flags & PyBUF_FORMAT ? (char *)self->format : NULL;
    view->ndim = (int)self->rank;
    view->shape = flags & PyBUF_ND ? self->shape : NULL;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? self->strides : NULL;
    return 0;
}

static void array_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((Array *)object)->owner);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyType_Spec array_spec = {
    .name = "plp._plp.Array",
    .basicsize = sizeof(Array),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = (PyType_Slot[]){
        {Py_bf_getbuffer, array_getbuffer},
        {Py_tp_dealloc, array_dealloc},
        {Py_tp_doc, "A read-only array in the library's own memory, by way of the buffer protocol."},
        {0, NULL},
    },
};

/* Whether images, and what there is for each of them (labels or logits, so many bytes), are as many as `count` says. */
static bool batch_fits(const Py_buffer *images, int dtype, int64_t size, const Py_buffer *others, int64_t bytes_each,
                       int64_t count)
{
    const int64_t image = 3 * size * size * (dtype == PLP_FLOAT32 ? 4 : 1);
    if (count >= 0 && size > 0 && images->len / image >= count && others->len / bytes_each >= count)
        return true;
    PyErr_Format(PyExc_ValueError, "the arrays are too short for %lld images", (long long)count);
    return false;
}

/* (loss, top-1 error, top-5 error), or None where nothing was measured */
static PyObject *metrics_tuple(plp_metrics metrics)
{
    if (metrics.count == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("ddd", metrics.loss, metrics.top1_error, metrics.top5_error);
}

/* (epoch, whether it is complete, iterations, predictions, learning rate, seconds, images/s, training, validation), or None */
static PyObject *epoch_tuple(const plp_epoch *epoch)
{
    if (!epoch)
        Py_RETURN_NONE;
    return Py_BuildValue("LNLLdddNN", (long long)epoch->epoch, PyBool_FromLong(epoch->is_complete),
                         (long long)epoch->iterations, (long long)epoch->predictions, epoch->learning_rate,
                         epoch->seconds, epoch->images_per_second, metrics_tuple(epoch->training),
                         metrics_tuple(epoch->validation));
}

/* ---- Callbacks --------------------------------------------------------------------------------------------------- */

/* What goes along to the callback of a long call. */
typedef struct {
    PyObject *function;   /* NULL: only Ctrl-C is looked for */
    PyThreadState *state; /* of the thread in the call, while the lock is released */
} listener;

/* Takes the lock again, looks for Ctrl-C, and calls Python, which hears of an iteration within which Ctrl-C came, too:
   it is done. An exception stays set, and ends the call; Ctrl-C's goes before the callback's. */
static int on_iteration(const plp_progress *progress, void *user_data)
{
    listener *listener = user_data;
    PyEval_RestoreThread(listener->state);
    plp_reply reply = PyErr_CheckSignals() ? PLP_STOP : PLP_PROCEED;
    if (listener->function) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *answer = PyObject_CallFunction(
            listener->function, "iLLLLdNNNddN", progress->phase, (long long)progress->epoch, (long long)progress->epochs,
            (long long)progress->iteration, (long long)progress->iterations, progress->learning_rate,
            PyBool_FromLong(progress->predicted), metrics_tuple(progress->batch), metrics_tuple(progress->running),
            progress->seconds, progress->images_per_second, epoch_tuple(progress->finished));
        const int finish = answer ? PyObject_IsTrue(answer) : -1;
        Py_XDECREF(answer);
        if (type)
            PyErr_Restore(type, value, traceback);
        else
            reply = finish < 0 ? PLP_STOP : finish ? PLP_FINISH : PLP_PROCEED;
    }
    listener->state = PyEval_SaveThread();
    return reply;
}

/* ---- Datasets ---------------------------------------------------------------------------------------------------- */

static PyObject *dataset_cifar100(PyObject *module, PyObject *args)
{
    PyObject *folder;
    int split, labels;
    if (!PyArg_ParseTuple(args, "O&ii", PyUnicode_FSConverter, &folder, &split, &labels))
        return NULL;
    plp_dataset *dataset = NULL;
    plp_status status;
    UNLOCKED(status = plp_dataset_cifar100(PyBytes_AsString(folder), (plp_split)split, (plp_cifar100_labels)labels,
                                           &dataset));
    Py_DECREF(folder);
    return dataset_wrap(status, dataset);
}

static PyObject *dataset_cifar10(PyObject *module, PyObject *args)
{
    PyObject *folder;
    int split;
    if (!PyArg_ParseTuple(args, "O&i", PyUnicode_FSConverter, &folder, &split))
        return NULL;
    plp_dataset *dataset = NULL;
    plp_status status;
    UNLOCKED(status = plp_dataset_cifar10(PyBytes_AsString(folder), (plp_split)split, &dataset));
    Py_DECREF(folder);
    return dataset_wrap(status, dataset);
}

static PyObject *dataset_synthetic(PyObject *module, PyObject *args)
{
    int split;
    long long count;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "iLK", &split, &count, &seed))
        return NULL;
    plp_dataset *dataset = NULL;
    plp_status status;
    UNLOCKED(status = plp_dataset_synthetic((plp_split)split, count, seed, &dataset));
    return dataset_wrap(status, dataset);
}

static PyObject *dataset_from_arrays(PyObject *module, PyObject *args)
{
    Py_buffer images, labels;
    long long count, size, classes;
    const char *name;
    if (!PyArg_ParseTuple(args, "y*y*LLLz", &images, &labels, &count, &size, &classes, &name))
        return NULL;
    plp_dataset *dataset = NULL;
    plp_status status = PLP_OK;
    /* Sizes that there are not are refused before images are looked at. */
    bool fits = size < 1 || size > 1000 || batch_fits(&images, PLP_UINT8, size, &labels, sizeof(int32_t), count);
    if (fits)
        UNLOCKED(status = plp_dataset_from_arrays(images.buf, labels.buf, count, size, classes, name, &dataset));
    PyBuffer_Release(&images);
    PyBuffer_Release(&labels);
    return fits ? dataset_wrap(status, dataset) : NULL;
}

/* (name, classes, images, labels, label names or None) */
static PyObject *dataset_describe(PyObject *module, PyObject *capsule)
{
    plp_dataset *dataset;
    plp_dataset_info info = {.struct_size = sizeof info};
    const char *name = NULL;
    if (!dataset_of(capsule, &dataset) || failed(plp_dataset_describe(dataset, &info)))
        return NULL;
    if (failed(plp_dataset_label_name(dataset, 0, &name)))
        return NULL;
    PyObject *names = name ? PyList_New(0) : Py_NewRef(Py_None);
    for (int64_t label = 0; name && names && label < info.classes; label++) {
        PyObject *text = failed(plp_dataset_label_name(dataset, label, &name)) ? NULL : PyUnicode_FromString(name);
        if (!text || PyList_Append(names, text) < 0)
            Py_CLEAR(names);
        Py_XDECREF(text);
    }
    if (!names)
        return NULL;
    const Py_ssize_t count = (Py_ssize_t)info.count, size = (Py_ssize_t)info.image_size;
    return Py_BuildValue("sLNNN", info.name, (long long)info.classes,
                         array(capsule, info.images, "B", 1, 4, (Py_ssize_t[]){count, 3, size, size}),
                         array(capsule, info.labels, "i", 4, 1, (Py_ssize_t[]){count}), names);
}

/* ---- Models ------------------------------------------------------------------------------------------------------ */

static PyObject *model_create(PyObject *module, PyObject *dict)
{
    plp_model_options options;
    backing backing = {0};
    if (failed(plp_model_options_init(&options, sizeof options)))
        return NULL;
    if (!set_options(model_fields, &options, dict, &backing))
        return release(&backing), NULL;
    plp_model *model = NULL;
    plp_status status;
    UNLOCKED(status = plp_model_create(&options, &model));
    release(&backing);
    return model_wrap(status, model);
}

static PyObject *model_load(PyObject *module, PyObject *path)
{
    PyObject *bytes;
    if (!PyUnicode_FSConverter(path, &bytes))
        return NULL;
    plp_model *model = NULL;
    plp_status status;
    UNLOCKED(status = plp_model_load(PyBytes_AsString(bytes), &model));
    Py_DECREF(bytes);
    return model_wrap(status, model);
}

static PyObject *model_save(PyObject *module, PyObject *args)
{
    plp_model *model;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "O&O&", model_of, &model, PyUnicode_FSConverter, &path))
        return NULL;
    plp_status status;
    UNLOCKED(status = plp_model_save(model, PyBytes_AsString(path)));
    Py_DECREF(path);
    return none_or_error(status);
}

/* (name, kind, dtype, shape) of every entry of the state dictionary */
static PyObject *model_entries(plp_model *model, int64_t count)
{
    PyObject *entries = PyList_New(0);
    for (int64_t index = 0; entries && index < count; index++) {
        plp_entry entry = {.struct_size = sizeof entry};
        if (failed(plp_model_entry(model, index, &entry)))
            return Py_DECREF(entries), NULL;
        PyObject *shape = PyTuple_New((Py_ssize_t)entry.rank);
        for (int64_t i = 0; shape && i < entry.rank; i++)
            PyTuple_SetItem(shape, (Py_ssize_t)i, PyLong_FromLongLong(entry.shape[i]));
        PyObject *tuple = shape ? Py_BuildValue("siiN", entry.name, entry.kind, entry.dtype, shape) : NULL;
        if (!tuple || PyList_Append(entries, tuple) < 0)
            Py_CLEAR(entries);
        Py_XDECREF(tuple);
    }
    return entries;
}

/* A dict with the fields of plp_model_info, and `entries` */
static PyObject *model_describe(PyObject *module, PyObject *capsule)
{
    plp_model *model;
    plp_model_info info = {.struct_size = sizeof info};
    if (!model_of(capsule, &model) || failed(plp_model_describe(model, &info)))
        return NULL;
    return Py_BuildValue("{sssLsLsdsdsisKs(fff)s(fff)sLszsN}", "architecture", info.architecture, "classes",
                         (long long)info.classes, "image_size", (long long)info.image_size, "width", info.width, "dropout",
                         info.dropout, "channel_count_epsilons", info.channel_count_epsilons, "seed",
                         (unsigned long long)info.seed, "mean", info.mean[0], info.mean[1], info.mean[2], "deviation",
                         info.deviation[0], info.deviation[1], info.deviation[2], "parameter_count",
                         (long long)info.parameter_count, "trained_on", info.trained_on, "entries",
                         model_entries(model, info.entry_count));
}

/* (model, tuple of an array for each entry), all of which are read or written at one moment */
static PyObject *copy_state(PyObject *args, bool reads)
{
    plp_model *model;
    PyObject *tuple;
    plp_model_info info = {.struct_size = sizeof info};
    if (!PyArg_ParseTuple(args, "O&O!", model_of, &model, &PyTuple_Type, &tuple)
        || failed(plp_model_describe(model, &info)))
        return NULL;
    const Py_ssize_t count = (Py_ssize_t)info.entry_count;
    Py_buffer *arrays = PyMem_Calloc((size_t)count, sizeof *arrays);
    void **values = PyMem_Calloc((size_t)count, sizeof *values);
    size_t *bytes = PyMem_Calloc((size_t)count, sizeof *bytes);
    Py_ssize_t held = 0;
    bool fits = arrays && values && bytes && PyTuple_Size(tuple) == count;
    const int access = reads ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    while (fits && held < count && PyObject_GetBuffer(PyTuple_GetItem(tuple, held), &arrays[held], access) == 0) {
        values[held] = arrays[held].buf;
        bytes[held] = (size_t)arrays[held].len;
        held++;
    }
    fits = fits && held == count;
    plp_status status = PLP_OK;
    if (fits && reads)
        UNLOCKED(status = plp_model_get_state(model, values, bytes));
    else if (fits)
        UNLOCKED(status = plp_model_set_state(model, (const void *const *)values, bytes));
    else if (!arrays || !values || !bytes)
        PyErr_NoMemory();
    else if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "expected %zd arrays, one for each entry", count);
    while (held > 0)
        PyBuffer_Release(&arrays[--held]);
    PyMem_Free(bytes);
    PyMem_Free(values);
    PyMem_Free(arrays);
    return fits ? none_or_error(status) : NULL;
}

static PyObject *model_get_state(PyObject *module, PyObject *args)
{
    return copy_state(args, true);
}

static PyObject *model_set_state(PyObject *module, PyObject *args)
{
    return copy_state(args, false);
}

static PyObject *model_logits(PyObject *module, PyObject *args)
{
    plp_model *model;
    plp_model_info info = {.struct_size = sizeof info};
    Py_buffer images, logits;
    int dtype;
    long long count, threads;
    if (!PyArg_ParseTuple(args, "O&y*iLLw*", model_of, &model, &images, &dtype, &count, &threads, &logits))
        return NULL;
    plp_status status = plp_model_describe(model, &info);
    const int64_t bytes_each = info.classes * (int64_t)sizeof(float);
    bool fits = !status && batch_fits(&images, dtype, info.image_size, &logits, bytes_each, count);
    if (fits)
        UNLOCKED(status = plp_model_logits(model, images.buf, (plp_dtype)dtype, count, threads, logits.buf));
    PyBuffer_Release(&images);
    PyBuffer_Release(&logits);
    return fits || status ? none_or_error(status) : NULL;
}

static PyObject *model_evaluate(PyObject *module, PyObject *args)
{
    plp_model *model;
    plp_dataset *dataset;
    long long threads;
    if (!PyArg_ParseTuple(args, "O&O&L", model_of, &model, dataset_of, &dataset, &threads))
        return NULL;
    plp_metrics metrics;
    plp_status status;
    listener listener = {0};
    UNLOCKED_BY(listener.state,
                status = plp_model_evaluate(model, dataset, threads, on_iteration, &listener, &metrics));
    return PyErr_Occurred() || failed(status) ? NULL : metrics_tuple(metrics);
}

/* ---- Prediction -------------------------------------------------------------------------------------------------- */

/* (a, b, c, d, whether parameters are replaced, momentum is reset, memory is the average; whether memory starts as
   parameters) of one iteration, for a predictor's options */
static PyObject *predictor_action(PyObject *module, PyObject *args)
{
    PyObject *dict;
    long long iteration;
    plp_predictor_options options;
    backing backing = {0};
    if (!PyArg_ParseTuple(args, "O!L", &PyDict_Type, &dict, &iteration))
        return NULL;
    plp_action action = {.struct_size = sizeof action};
    bool done = set_predictor(&options, dict, &backing) && !failed(plp_predictor_action(&options, iteration, &action));
    release(&backing);
    return done ? Py_BuildValue("ddddNNNN", action.memory[0], action.memory[1], action.parameters[0],
                                action.parameters[1], PyBool_FromLong(action.replaces_parameters),
                                PyBool_FromLong(action.resets_momentum), PyBool_FromLong(action.is_average),
                                PyBool_FromLong(action.remembers_start))
                : NULL;
}

/* (options, float32 array as it is before the first step) */
static PyObject *predictor_create(PyObject *module, PyObject *args)
{
    PyObject *dict;
    Py_buffer parameters;
    plp_predictor_options options;
    backing backing = {0};
    if (!PyArg_ParseTuple(args, "O!y*", &PyDict_Type, &dict, &parameters))
        return NULL;
    plp_predictor *predictor = NULL;
    plp_status status = PLP_OK;
    bool set = set_predictor(&options, dict, &backing);
    if (set)
        UNLOCKED(status = plp_predictor_create(&options, parameters.buf, parameters.len / 4, &predictor));
    release(&backing);
    PyBuffer_Release(&parameters);
    return set ? predictor_wrap(status, predictor) : NULL;
}

/* The array is as long as at the start: what calls this has looked. */
static PyObject *predictor_after_step(PyObject *module, PyObject *args)
{
    plp_predictor *predictor;
    Py_buffer parameters;
    if (!PyArg_ParseTuple(args, "O&w*", predictor_of, &predictor, &parameters))
        return NULL;
    int replaced = 0;
    plp_status status;
    UNLOCKED(status = plp_predictor_after_step(predictor, parameters.buf, &replaced));
    PyBuffer_Release(&parameters);
    return failed(status) ? NULL : PyBool_FromLong(replaced);
}

static PyObject *predictor_average(PyObject *module, PyObject *args)
{
    plp_predictor *predictor;
    Py_buffer out;
    if (!PyArg_ParseTuple(args, "O&w*", predictor_of, &predictor, &out))
        return NULL;
    plp_status status;
    UNLOCKED(status = plp_predictor_average(predictor, out.buf));
    PyBuffer_Release(&out);
    return none_or_error(status);
}

static PyObject *predictor_state_size(PyObject *module, PyObject *capsule)
{
    plp_predictor *predictor;
    size_t bytes = 0;
    if (!predictor_of(capsule, &predictor) || failed(plp_predictor_state_size(predictor, &bytes)))
        return NULL;
    return PyLong_FromSize_t(bytes);
}

static PyObject *predictor_get_state(PyObject *module, PyObject *args)
{
    plp_predictor *predictor;
    Py_buffer state;
    if (!PyArg_ParseTuple(args, "O&w*", predictor_of, &predictor, &state))
        return NULL;
    plp_status status;
    UNLOCKED(status = plp_predictor_get_state(predictor, state.buf, (size_t)state.len));
    PyBuffer_Release(&state);
    return none_or_error(status);
}

static PyObject *predictor_set_state(PyObject *module, PyObject *args)
{
    plp_predictor *predictor;
    Py_buffer state;
    if (!PyArg_ParseTuple(args, "O&y*", predictor_of, &predictor, &state))
        return NULL;
    plp_status status;
    UNLOCKED(status = plp_predictor_set_state(predictor, state.buf, (size_t)state.len));
    PyBuffer_Release(&state);
    return none_or_error(status);
}

/* ---- Training ---------------------------------------------------------------------------------------------------- */

/* (model, the optimizer's options, the predictor's or None, the watched predictor's or None, the others), as dicts */
static PyObject *trainer_create(PyObject *module, PyObject *args)
{
    plp_model *model;
    PyObject *dict, *optimizer_dict, *predictor_dict, *watch_dict;
    plp_trainer_options options;
    plp_optimizer_options optimizer;
    plp_predictor_options predictor, watch;
    backing backing = {0};
    if (!PyArg_ParseTuple(args, "O&O!OOO!", model_of, &model, &PyDict_Type, &optimizer_dict, &predictor_dict,
                          &watch_dict, &PyDict_Type, &dict))
        return NULL;
    if (failed(plp_trainer_options_init(&options, sizeof options)))
        return NULL;
    if (!set_options(trainer_fields, &options, dict, &backing) || !set_optimizer(&optimizer, optimizer_dict, &backing)
        || (predictor_dict != Py_None && !set_predictor(&predictor, predictor_dict, &backing))
        || (watch_dict != Py_None && !set_predictor(&watch, watch_dict, &backing)))
        return release(&backing), NULL;
    options.optimizer = &optimizer;
    options.predictor = predictor_dict == Py_None ? NULL : &predictor;
    options.watch = watch_dict == Py_None ? NULL : &watch;
    plp_trainer *trainer = NULL;
    plp_status status;
    UNLOCKED(status = plp_trainer_create(model, &options, &trainer));
    release(&backing);
    return trainer_wrap(status, trainer);
}

/* (trainer, train, epochs, validation fraction, validation set or None, test set or None, callback) */
static PyObject *trainer_fit(PyObject *module, PyObject *args)
{
    plp_trainer *trainer;
    plp_dataset *train, *validation = NULL, *test = NULL;
    PyObject *validation_capsule, *test_capsule;
    long long epochs;
    listener listener = {0};
    plp_fit_options options;
    if (failed(plp_fit_options_init(&options, sizeof options)))
        return NULL;
    if (!PyArg_ParseTuple(args, "O&O&LdOOO", trainer_of, &trainer, dataset_of, &train, &epochs,
                          &options.validation_fraction, &validation_capsule, &test_capsule, &listener.function))
        return NULL;
    if (validation_capsule != Py_None && !dataset_of(validation_capsule, &validation))
        return NULL;
    if (test_capsule != Py_None && !dataset_of(test_capsule, &test))
        return NULL;
    options.epochs = epochs;
    options.validation = validation;
    options.test = test;
    options.callback = on_iteration;
    options.user_data = &listener;

    plp_status status;
    UNLOCKED_BY(listener.state, status = plp_trainer_fit(trainer, train, &options));
    return PyErr_Occurred() ? NULL : none_or_error(status);
}

/* A step, or with `gradients`, which are then to be given last, their computation alone */
static PyObject *run_mini_batch(PyObject *args, Py_buffer *gradients)
{
    plp_trainer *trainer;
    Py_buffer images, labels;
    int dtype;
    long long count, size;
    if (!PyArg_ParseTuple(args, gradients ? "O&y*iy*LLw*" : "O&y*iy*LL", trainer_of, &trainer, &images, &dtype, &labels,
                          &count, &size, gradients))
        return NULL;
    plp_metrics metrics;
    plp_status status = PLP_OK;
    bool fits = batch_fits(&images, dtype, size, &labels, sizeof(int32_t), count);
    if (fits && gradients)
        UNLOCKED(status = plp_trainer_gradients(trainer, images.buf, (plp_dtype)dtype, labels.buf, count, &metrics,
                                                gradients->buf, (size_t)gradients->len));
    else if (fits)
        UNLOCKED(status = plp_trainer_step(trainer, images.buf, (plp_dtype)dtype, labels.buf, count, &metrics));
    PyBuffer_Release(&images);
    PyBuffer_Release(&labels);
    if (gradients)
        PyBuffer_Release(gradients);
    return !fits || failed(status) ? NULL : metrics_tuple(metrics);
}

static PyObject *trainer_step(PyObject *module, PyObject *args)
{
    return run_mini_batch(args, NULL);
}

/* (trainer, images, dtype, labels, count, size, array for the gradients of all parameters, one after another) */
static PyObject *trainer_gradients(PyObject *module, PyObject *args)
{
    Py_buffer gradients;
    return run_mini_batch(args, &gradients);
}

static PyObject *trainer_evaluate(PyObject *module, PyObject *args)
{
    plp_trainer *trainer;
    plp_dataset *dataset;
    if (!PyArg_ParseTuple(args, "O&O&", trainer_of, &trainer, dataset_of, &dataset))
        return NULL;
    plp_metrics metrics;
    plp_status status;
    listener listener = {0};
    UNLOCKED_BY(listener.state, status = plp_trainer_evaluate(trainer, dataset, on_iteration, &listener, &metrics));
    return PyErr_Occurred() || failed(status) ? NULL : metrics_tuple(metrics);
}

static PyObject *trainer_best_model(PyObject *module, PyObject *capsule)
{
    plp_trainer *trainer;
    if (!trainer_of(capsule, &trainer))
        return NULL;
    plp_model *model = NULL;
    plp_status status;
    UNLOCKED(status = plp_trainer_best_model(trainer, &model));
    return model_wrap(status, model);
}

/* (best epoch or -1, stopped, data, test metrics, [epochs]) */
static PyObject *trainer_history(PyObject *module, PyObject *capsule)
{
    plp_trainer *trainer;
    plp_history history = {.struct_size = sizeof history};
    plp_status status;
    if (!trainer_of(capsule, &trainer))
        return NULL;
    /* In one call, so that they are of one moment. Where room lacks there is twice as much in the next, so that a fit which
       adds records meanwhile is caught up with. */
    plp_epoch *records = NULL;
    int64_t room = 32;
    do {
        room = history.epoch_count > room ? 2 * history.epoch_count : room;
        PyMem_Free(records);
        records = PyMem_Calloc((size_t)room, sizeof *records);
        if (!records)
            return PyErr_NoMemory();
        records->struct_size = sizeof *records;
        UNLOCKED(status = plp_trainer_epochs(trainer, &history, records, room));
    } while (!status && history.epoch_count > room);
    PyObject *epochs = failed(status) ? NULL : PyList_New(0);
    for (int64_t index = 0; epochs && index < history.epoch_count; index++) {
        if (records[index].training.count == 0) /* stopped before its first mini-batch was done */
            continue;
        PyObject *record = epoch_tuple(&records[index]);
        if (!record || PyList_Append(epochs, record) < 0)
            Py_CLEAR(epochs);
        Py_XDECREF(record);
    }
    PyMem_Free(records);
    return epochs ? Py_BuildValue("LNsNN", (long long)history.best_epoch, PyBool_FromLong(history.is_stopped),
                                  history.data, metrics_tuple(history.test), epochs)
                  : NULL;
}

static PyObject *trainer_save(PyObject *module, PyObject *args)
{
    plp_trainer *trainer;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "O&O&", trainer_of, &trainer, PyUnicode_FSConverter, &path))
        return NULL;
    plp_status status;
    UNLOCKED(status = plp_trainer_save(trainer, PyBytes_AsString(path)));
    Py_DECREF(path);
    return none_or_error(status);
}

static PyObject *trainer_restore(PyObject *module, PyObject *args)
{
    plp_trainer *trainer;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "O&O&", trainer_of, &trainer, PyUnicode_FSConverter, &path))
        return NULL;
    plp_status status;
    UNLOCKED(status = plp_trainer_restore(trainer, PyBytes_AsString(path)));
    Py_DECREF(path);
    return none_or_error(status);
}

/* [(layer, operation, seconds, calls)] */
static PyObject *trainer_profile(PyObject *module, PyObject *capsule)
{
    plp_trainer *trainer;
    int64_t count = 0;
    plp_status status;
    if (!trainer_of(capsule, &trainer))
        return NULL;
    UNLOCKED(status = plp_trainer_profile_count(trainer, &count));
    if (failed(status))
        return NULL;
    plp_profile_entry *profile = PyMem_Calloc((size_t)count + 1, sizeof *profile);
    if (!profile)
        return PyErr_NoMemory();
    profile->struct_size = sizeof *profile;
    UNLOCKED(status = plp_trainer_profile(trainer, 0, count, profile));
    PyObject *entries = failed(status) ? NULL : PyList_New(0);
    for (const plp_profile_entry *entry = profile; entries && entry < profile + count; entry++) {
        PyObject *tuple = Py_BuildValue("ssdL", entry->layer, entry->operation, entry->seconds, (long long)entry->calls);
        if (!tuple || PyList_Append(entries, tuple) < 0)
            Py_CLEAR(entries);
        Py_XDECREF(tuple);
    }
    PyMem_Free(profile);
    return entries;
}

/* (cycles, layers, iterations, samples) */
static PyObject *trainer_watched(PyObject *module, PyObject *capsule)
{
    plp_trainer *trainer;
    plp_watched watched = {.struct_size = sizeof watched};
    plp_status status;
    if (!trainer_of(capsule, &trainer))
        return NULL;
    UNLOCKED(status = plp_trainer_watched(trainer, &watched));
    return failed(status) ? NULL
                          : Py_BuildValue("LLLL", (long long)watched.cycles, (long long)watched.layers,
                                          (long long)watched.iterations, (long long)watched.samples);
}

/* (trainer, cycles, iterations, moves float32 [cycles, layers, 3], iterations int64 [cycles], trajectories float32
   [iterations, layers, samples]): how many cycles and iterations were copied, no more than there is room for */
static PyObject *trainer_records(PyObject *module, PyObject *args)
{
    plp_trainer *trainer;
    plp_watched watched = {.struct_size = sizeof watched};
    long long cycles, iterations;
    Py_buffer moves, numbers, trajectories;
    if (!PyArg_ParseTuple(args, "O&LLw*w*w*", trainer_of, &trainer, &cycles, &iterations, &moves, &numbers,
                          &trajectories))
        return NULL;
    watched.cycles = cycles;
    watched.iterations = iterations;
    plp_status status;
    UNLOCKED(status = plp_trainer_records(trainer, &watched, moves.buf, numbers.buf, trajectories.buf));
    PyBuffer_Release(&moves);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&trajectories);
    return failed(status) ? NULL : Py_BuildValue("LL", (long long)watched.cycles, (long long)watched.iterations);
}

/* ---- The bare formula and the build ------------------------------------------------------------------------------ */

/* (tuple of arrays of float32, array of float64 or None, result) */
static PyObject *predict(PyObject *module, PyObject *args)
{
    PyObject *tuple, *coefficients;
    Py_buffer result, weights = {0};
    if (!PyArg_ParseTuple(args, "O!Ow*", &PyTuple_Type, &tuple, &coefficients, &result))
        return NULL;
    const Py_ssize_t count = PyTuple_Size(tuple);
    /* Not on the stack, which is small in some threads. */
    Py_buffer *vectors = PyMem_Calloc((size_t)count + 1, sizeof *vectors);
    const float **pointers = PyMem_Calloc((size_t)count + 1, sizeof *pointers);
    Py_ssize_t held = 0;
    bool fits = vectors && pointers
                && (coefficients == Py_None
                    || (PyObject_GetBuffer(coefficients, &weights, PyBUF_SIMPLE) == 0
                        && weights.len == count * (Py_ssize_t)sizeof(double)));
    while (fits && held < count && PyObject_GetBuffer(PyTuple_GetItem(tuple, held), &vectors[held], PyBUF_SIMPLE) == 0) {
        pointers[held] = vectors[held].buf;
        fits = vectors[held++].len == result.len;
    }
    fits = fits && held == count;
    plp_status status = PLP_OK;
    if (fits)
        UNLOCKED(status = plp_predict(pointers, weights.buf, count, result.len / 4, result.buf));
    else if (!vectors || !pointers)
        PyErr_NoMemory();
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "expected arrays of one size, and a coefficient for each");
    while (held > 0)
        PyBuffer_Release(&vectors[--held]);
    PyMem_Free(pointers);
    PyMem_Free(vectors);
    PyBuffer_Release(&weights);
    PyBuffer_Release(&result);
    return fits ? none_or_error(status) : NULL;
}

static PyObject *build_info(PyObject *module, PyObject *nothing)
{
    return PyUnicode_FromString(plp_build_info());
}

/* ---- The module -------------------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"dataset_cifar100", dataset_cifar100, METH_VARARGS, NULL},
    {"dataset_cifar10", dataset_cifar10, METH_VARARGS, NULL},
    {"dataset_synthetic", dataset_synthetic, METH_VARARGS, NULL},
    {"dataset_from_arrays", dataset_from_arrays, METH_VARARGS, NULL},
    {"dataset_describe", dataset_describe, METH_O, NULL},
    {"model_create", model_create, METH_O, NULL},
    {"model_load", model_load, METH_O, NULL},
    {"model_save", model_save, METH_VARARGS, NULL},
    {"model_describe", model_describe, METH_O, NULL},
    {"model_get_state", model_get_state, METH_VARARGS, NULL},
    {"model_set_state", model_set_state, METH_VARARGS, NULL},
    {"model_logits", model_logits, METH_VARARGS, NULL},
    {"model_evaluate", model_evaluate, METH_VARARGS, NULL},
    {"defaults", defaults, METH_VARARGS, NULL},
    {"predictor_action", predictor_action, METH_VARARGS, NULL},
    {"predictor_create", predictor_create, METH_VARARGS, NULL},
    {"predictor_after_step", predictor_after_step, METH_VARARGS, NULL},
    {"predictor_average", predictor_average, METH_VARARGS, NULL},
    {"predictor_state_size", predictor_state_size, METH_O, NULL},
    {"predictor_get_state", predictor_get_state, METH_VARARGS, NULL},
    {"predictor_set_state", predictor_set_state, METH_VARARGS, NULL},
    {"trainer_create", trainer_create, METH_VARARGS, NULL},
    {"trainer_fit", trainer_fit, METH_VARARGS, NULL},
    {"trainer_step", trainer_step, METH_VARARGS, NULL},
    {"trainer_gradients", trainer_gradients, METH_VARARGS, NULL},
    {"trainer_evaluate", trainer_evaluate, METH_VARARGS, NULL},
    {"trainer_best_model", trainer_best_model, METH_O, NULL},
    {"trainer_history", trainer_history, METH_O, NULL},
    {"trainer_save", trainer_save, METH_VARARGS, NULL},
    {"trainer_restore", trainer_restore, METH_VARARGS, NULL},
    {"trainer_profile", trainer_profile, METH_O, NULL},
    {"trainer_watched", trainer_watched, METH_O, NULL},
    {"trainer_records", trainer_records, METH_VARARGS, NULL},
    {"predict", predict, METH_VARARGS, NULL},
    {"build_info", build_info, METH_NOARGS,
     "How the library was built, and how many threads compute by default and why, one ``key: value`` a line."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_plp",
    .m_doc = "The C ABI of libplp (plp.h), function by function. Use the package plp instead.",
    .m_size = -1,
    .m_methods = functions,
};

/* The enumerators of plp.h under their names. */
static bool add_enumerators(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } enumerators[] = {
#define ENUMERATOR(name) {#name, PLP_##name}
        ENUMERATOR(UINT8), ENUMERATOR(FLOAT32), ENUMERATOR(INT64), ENUMERATOR(SPLIT_TRAIN), ENUMERATOR(SPLIT_TEST),
        ENUMERATOR(LABELS_FINE), ENUMERATOR(LABELS_COARSE),
        ENUMERATOR(ENTRY_PARAMETER), ENUMERATOR(ENTRY_STATISTIC), ENUMERATOR(ENTRY_COUNTER), ENUMERATOR(OPTIMIZER_SGD),
        ENUMERATOR(OPTIMIZER_ADAMW), ENUMERATOR(SCHEDULE_CONSTANT), ENUMERATOR(SCHEDULE_CYCLIC),
        ENUMERATOR(SCHEDULE_MULTI_STEP), ENUMERATOR(SCHEDULE_COSINE), ENUMERATOR(PREDICTOR_PLP),
        ENUMERATOR(PREDICTOR_LOOKAHEAD), ENUMERATOR(PREDICTOR_EMA), ENUMERATOR(PREDICTOR_SWA),
        ENUMERATOR(MOMENTUM_KEPT), ENUMERATOR(MOMENTUM_RESET), ENUMERATOR(STATISTICS_KEPT),
        ENUMERATOR(STATISTICS_PREDICTED), ENUMERATOR(STATISTICS_RECOMPUTED), ENUMERATOR(PHASE_STATISTICS),
        ENUMERATOR(PHASE_TRAINING), ENUMERATOR(PHASE_VALIDATION), ENUMERATOR(PHASE_EPOCH_END), ENUMERATOR(PHASE_TEST),
    };
    for (size_t i = 0; i < sizeof enumerators / sizeof *enumerators; i++)
        if (PyModule_AddIntConstant(module, enumerators[i].name, enumerators[i].value) < 0)
            return false;
    return true;
}

PyMODINIT_FUNC PyInit__plp(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    ArrayType = (PyTypeObject *)PyType_FromSpec(&array_spec);
    Error = PyErr_NewExceptionWithDoc("plp.Error",
                                      "What none of Python's own exceptions says: a corrupt file, a loss that is no "
                                      "longer finite.",
                                      NULL, NULL);
    if (!ArrayType || PyModule_AddObjectRef(module, "Error", Error) < 0
        || PyModule_AddStringConstant(module, "version", plp_version()) < 0 || !add_enumerators(module)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
