/*
 * plp.h: train image classifiers on a CPU, with and without parameter linear prediction.
 *
 *     plp_dataset *train;
 *     plp_model *model;
 *     plp_trainer *trainer;
 *     if (plp_dataset_synthetic(PLP_SPLIT_TRAIN, 5000, 0, &train)
 *         || plp_model_create(NULL, &model)
 *         || plp_trainer_create(model, NULL, &trainer)
 *         || plp_trainer_fit(trainer, train, NULL))
 *         fprintf(stderr, "%s\n", plp_last_error_message());
 *
 * Conventions, for all functions below:
 *
 * Errors.   A function that can fail returns a plp_status; PLP_OK is 0. On any other value every out-parameter is as it
 *           was, every handle is still usable, and plp_last_error_message() says which argument or file was at fault,
 *           what was found and what was expected. No input ends the process: NULL, freed and foreign handles are told
 *           and reported. Only memory is taken on trust: an array must have the length this page gives.
 * Handles.  plp_dataset, plp_model, plp_predictor and plp_trainer are created by a function whose last parameter
 *           receives the handle, and released by their _free function, which takes NULL too. A trainer keeps its model
 *           alive, whatever the order in which they are freed.
 * Threads.  Any thread may call any function at any time. Calls on a model and its trainers take turns, in the order
 *           in which they came, and wait for each other; different models are independent, and datasets, which never
 *           change, wait for nothing. Calls that go on for long let others in: plp_trainer_fit between two iterations,
 *           when the model is as the latest one left it and may be read, saved, measured, even set; what would train
 *           it (fit, step, gradients, restore) is refused until the fit is over. Evaluations are of the model as it is
 *           when their turn comes, and nobody waits for them. A call has no turn while it runs its caller's callback,
 *           which therefore may do all that another thread may, and wait for it: no calls wait for each other for ever.
 *           See plp_set_wait_callback for how a wait is interrupted.
 *           A number of threads that compute is 0 to 1024. 0 takes PLP_NUM_THREADS, else OMP_NUM_THREADS, if one is set to
 *           a whole number above 0; else the processors that the process may run on, and no more than the quotas of its
 *           control groups allow, rounded down. More than it may run on are never taken. plp_build_info tells.
 * Structs.  The ones that start with struct_size may grow at their end in later versions. A struct of options is filled
 *           with its defaults by its _init function; one that receives a result needs only its struct_size set before
 *           the call, to sizeof the struct:    plp_epoch epoch = {.struct_size = sizeof epoch};
 *           Where options are passed, NULL stands for the defaults.
 * Strings.  UTF-8, ended by a zero. Those handed out belong to the library; how long they live is said at each.
 * Counts.   int64_t, so that a negative one can be reported. Epochs, iterations and entries are counted from 0.
 * Images.   3 × size × size values each, channels first (NCHW), red, green, blue; either bytes as in the files
 *           (PLP_UINT8; the model's normalisation is applied) or values taken as they are (PLP_FLOAT32). size is 16 to 96
 *           pixels, 32 in CIFAR; a model takes those of its own image_size, and a dataset of another is refused.
 * Arrays.   Those of one call must not overlap, unless its comment says otherwise.
 * Stack.    A thread needs 128 KiB for any call, thread-local variables (60 KiB of them OpenBLAS's) included and the
 *           caller's own callbacks not.
 * Process.  The library prints nothing, never exits and installs no signal handler. It has threads of its own; where
 *           the system refuses them, the calling thread does all the work (OpenBLAS, when it is loaded, raises SIGINT
 *           then, unless OPENBLAS_NUM_THREADS is 1). A forked child may use all that its parent made, and comes to the
 *           same results, on threads of its own, except a model (and its trainers) that another thread of the parent
 *           was changing or fitting at that moment: calls on it are refused, and it can only be freed. A fork waits
 *           while another thread computes a linear layer, for milliseconds. Once loaded the library stays: dlclose does
 *           nothing.
 * Memory.   What a call needs in large pieces is asked for before: of the machine, of the control groups that the
 *           process is in, and of its limits (ulimit -v, -d), under which OpenBLAS takes 129 MB a thread. What they do
 *           not leave is OUT_OF_MEMORY. Small pieces are taken as they come; where the system refuses those, or others
 *           take meanwhile what was left, the process ends. Under a limit of the address space below some 300 MB a
 *           thread that OpenBLAS has started may look for memory for ever, and the process does not end until it has
 *           some, unless OPENBLAS_NUM_THREADS is 1.
 *
 * Since 0.1, unless a declaration says otherwise.
 */
#ifndef PLP_H
#define PLP_H

#include <stddef.h>
#include <stdint.h>

#define PLP_VERSION "0.2.0"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors and versions ----------------------------------------------------------------------------------------- */

typedef enum plp_status {
    PLP_OK = 0,
    PLP_ERROR_INVALID_ARGUMENT = 1, /* a value out of range, a wrong size, an unknown name, a handle that is not live */
    PLP_ERROR_NOT_FOUND = 2,        /* a file or folder that is not there */
    PLP_ERROR_IO = 3,               /* a file that cannot be read or written: permissions, a full disk */
    PLP_ERROR_CORRUPT = 4,          /* a file whose contents are not what its format promises */
    PLP_ERROR_NOT_FINITE = 5,       /* a loss or model that is not finite; the message says how far a run had come */
    PLP_ERROR_OUT_OF_MEMORY = 6,    /* more memory than the system gives */
    PLP_ERROR_INTERRUPTED = 7       /* plp_set_wait_callback's callback ended a wait; nothing was done */
} plp_status;

/* The text of this thread's latest failure; "" before the first. Valid until this thread's next failure. */
const char *plp_last_error_message(void);

/* Of the same failure where its status was NOT_FOUND or IO: the system's errno, and the file or folder it is about,
   which the message then begins with, before ": ", unless it has characters that are escaped there. Else 0 and NULL.
   The path is valid as long as the message. */
int plp_last_error_number(void);
const char *plp_last_error_path(void);

/* The library's version, "major.minor.patch"; PLP_VERSION is the header's. Lives as long as the process. */
const char *plp_version(void);

/* How the library was built and what it runs on now, how many threads compute by default and why among it, one
 * "key: value" a line. Valid until this thread's next call of it. On a processor that lacks instructions the library was
 * built to use, this works, and calls that return a status fail. */
const char *plp_build_info(void);

/* While it waits for a call of another thread, on the same model, to be done. Return 0 to wait on. */
typedef int (*plp_wait_callback)(void *user_data);

/* Sets what this thread's calls that begin later do while they wait: about ten times a second they call `callback`, and
   where it returns anything but 0 they fail with INTERRUPTED; a fit that waits for its next iteration stops, as by its
   own callback. NULL, as at first: they just wait. For hosts that look for signals, as Python does. */
void plp_set_wait_callback(plp_wait_callback callback, void *user_data);

/* ---- Elements of arrays ------------------------------------------------------------------------------------------ */

typedef enum plp_dtype { PLP_UINT8 = 0, PLP_FLOAT32 = 1, PLP_INT64 = 2 } plp_dtype;

/* What was measured over `count` images. count is 0 where nothing was, and the rest then 0 too. */
typedef struct plp_metrics {
    int64_t count;
    double loss;       /* mean softmax cross-entropy, in nats */
    double top1_error; /* fraction of images whose label is not the highest logit; accuracy is 1 - top1_error */
    double top5_error; /* fraction of images whose label is not among the five highest */
} plp_metrics;

/* ---- Datasets ---------------------------------------------------------------------------------------------------- */

/* Labelled images of one size, as bytes. Never changes once it is made. */
typedef struct plp_dataset plp_dataset;

typedef enum plp_split { PLP_SPLIT_TRAIN = 0, PLP_SPLIT_TEST = 1 } plp_split;

/* Each of CIFAR-100's images has two labels: one of 100 classes, and one of 20 groups of five classes. */
typedef enum plp_cifar100_labels { PLP_LABELS_FINE = 0, PLP_LABELS_COARSE = 1 } plp_cifar100_labels;

/* CIFAR-100 with labels of one kind, in the binary or the Python layout: `folder` itself, or its subfolder
   cifar-100-binary or cifar-100-python. Pickles are read without executing them.
   NOT_FOUND, IO, CORRUPT (a truncated, oversized or damaged file, a label out of range). */
plp_status plp_dataset_cifar100(const char *folder, plp_split split, plp_cifar100_labels labels, plp_dataset **dataset);

/* CIFAR-10 in the binary or the Python layout: `folder` itself, or its subfolder cifar-10-batches-bin or
   cifar-10-batches-py. Errors as above. */
plp_status plp_dataset_cifar10(const char *folder, plp_split split, plp_dataset **dataset);

/* `count` images made by code, of 100 classes in 20 groups of 5: no file needed. A function of its arguments; the two
   splits share no image. count: 1 to 1,000,000. */
plp_status plp_dataset_synthetic(plp_split split, int64_t count, uint64_t seed, plp_dataset **dataset);

/* A copy of the caller's images [count][3][image_size][image_size] and labels [count], each 0 ..< classes. image_size: 16
   to 96. classes: 1 to INT32_MAX. name: what messages and histories call it; NULL for "images". */
plp_status plp_dataset_from_arrays(const uint8_t *images, const int32_t *labels, int64_t count, int64_t image_size,
                                   int64_t classes, const char *name, plp_dataset **dataset);

typedef struct plp_dataset_info {
    size_t struct_size;
    const char *name; /* such as "CIFAR-100 train" */
    int64_t count;    /* images */
    int64_t classes;
    int64_t image_size;    /* pixels along a side */
    const uint8_t *images; /* [count][3][image_size][image_size] */
    const int32_t *labels; /* [count] */
} plp_dataset_info;

/* The pointers in `info` are the dataset's own memory, valid until it is freed. */
plp_status plp_dataset_describe(const plp_dataset *dataset, plp_dataset_info *info);

/* The name of class `label`, such as "apple"; NULL where the dataset has no names. Valid until the dataset is freed. */
plp_status plp_dataset_label_name(const plp_dataset *dataset, int64_t label, const char **name);

void plp_dataset_free(plp_dataset *dataset);

/* ---- Models ------------------------------------------------------------------------------------------------------ */

/* A network and its parameters. */
typedef struct plp_model plp_model;

typedef struct plp_model_options {
    size_t struct_size;
    const char *architecture; /* "resnet18" (the default), "vgg16", "googlenet" */
    int64_t classes;          /* 100; 2 to 100,000 */
    int64_t image_size;       /* 32 pixels along a side; 16 to 96, VGG16 from 32 on. Odd ones too: see below */
    double width;             /* 1: factor on every hidden channel count, above 0, at most 8 */
    const double *dropout;    /* NULL: the architecture's own; else the probability wherever it drops, 0 ..< 1 */
    int channel_count_epsilons; /* 0; 1: GoogLeNet with the public trainer's mistaken batch-norm eps, for its weights */
    uint64_t seed;              /* 0: of the initial parameters */
    float mean[3];              /* CIFAR-100's; byte b of channel c enters as (b/255 - mean[c]) / deviation[c] */
    float deviation[3];
    const char *trained_on; /* NULL; name of the data set that values to be set come from, as plp_model_info tells it */
} plp_model_options;

/* Networks of another image_size are PyTorch's: the layers are the same. VGG16's first linear layer takes the maps that
   its five poolings leave, of image_size / 32 pixels along a side, rounded down, in PyTorch's order of channels, rows,
   columns; smaller images would leave none. ResNet18 and GoogLeNet average over what is left. Where a map of an odd size
   is halved, VGG16 drops its last row and column, and the others round up. */

/* Fills `options` with the defaults above. struct_size: sizeof(plp_model_options), as the caller was compiled. */
plp_status plp_model_options_init(plp_model_options *options, size_t struct_size);

/* A model with PyTorch's default initialisation: uniform ±1/sqrt(fan_in), batch-norm scales 1 and shifts 0. */
plp_status plp_model_create(const plp_model_options *options, plp_model **model);

/* A model from a safetensors file that plp_model_save wrote, its configuration in it. What the file says of itself is
   checked before memory is asked for, the model's own and little more. NOT_FOUND, IO, CORRUPT, OUT_OF_MEMORY. */
plp_status plp_model_load(const char *path, plp_model **model);

/* Writes parameters, running statistics and configuration. The file is complete on disk before it takes the place of an
   older one of that name; of several calls at once the last one's stays. On failure the older one is as it was, with
   one exception, which the message names: where only flushing the folder fails, the new one is in place, but may not
   outlive a power cut. Links are followed. An older file's mode is kept, and its owner as far as the caller may give it;
   a new file's is what umask leaves of 0666. A folder, a device or a pipe at that path is refused, and a file that the
   caller may not write. While it is written the file is beside its place, as path.XXXXXXXXXXXXXXXX.partial; a process
   that is killed then leaves that, and the next call for the same path removes it. NOT_FOUND (the folder), IO. */
plp_status plp_model_save(const plp_model *model, const char *path);

typedef struct plp_model_info {
    size_t struct_size;
    const char *architecture; /* valid until the model is freed */
    int64_t classes;
    int64_t image_size;
    double width;
    double dropout;
    int channel_count_epsilons;
    uint64_t seed;
    float mean[3];
    float deviation[3];
    int64_t parameter_count; /* trainable values: weights and biases */
    int64_t entry_count;     /* entries of the state dictionary, see below */
    const char *trained_on;  /* name of the data set that a trainer used last, also before the model was saved, or NULL;
                                valid until the model is freed */
} plp_model_info;

/* The configuration the model was made with, its size, and what it was trained on. */
plp_status plp_model_describe(const plp_model *model, plp_model_info *info);

/* The state dictionary: PyTorch's names, order, shapes and layouts (convolution weights are OIHW, row-major). */

typedef enum plp_entry_kind {
    PLP_ENTRY_PARAMETER = 0, /* trained; has a gradient */
    PLP_ENTRY_STATISTIC = 1, /* running mean or variance of a batch norm */
    PLP_ENTRY_COUNTER = 2    /* num_batches_tracked */
} plp_entry_kind;

typedef struct plp_entry {
    size_t struct_size;
    const char *name; /* such as "conv1.0.weight"; valid until the model is freed */
    plp_entry_kind kind;
    plp_dtype dtype; /* PLP_FLOAT32; PLP_INT64 for counters */
    int64_t rank;    /* dimensions used in shape, 0 to 4 */
    int64_t shape[4];
    size_t bytes; /* of its values */
} plp_entry;

plp_status plp_model_entry(const plp_model *model, int64_t index, plp_entry *entry);
plp_status plp_model_find_entry(const plp_model *model, const char *name, int64_t *index);

/* Copies an entry's values out, or in. `bytes` is the size of the caller's array and must equal the entry's. */
plp_status plp_model_get_values(const plp_model *model, int64_t index, void *values, size_t bytes);
plp_status plp_model_set_values(plp_model *model, int64_t index, const void *values, size_t bytes);

/* The same for all entries, in one turn: of one moment, whatever other threads do. values: [entry_count] arrays; bytes:
   [entry_count] sizes of theirs. On failure none is copied. */
plp_status plp_model_get_state(const plp_model *model, void *const *values, const size_t *bytes);
plp_status plp_model_set_state(plp_model *model, const void *const *values, const size_t *bytes);

/* The network's outputs before softmax, as in evaluation: running statistics, no dropout.
   images: [count][3][size][size] of type `dtype`, PLP_UINT8 or PLP_FLOAT32. logits: room for [count][classes].
   threads: that compute, see above. The result does not depend on it. */
plp_status plp_model_logits(const plp_model *model, const void *images, plp_dtype dtype, int64_t count, int64_t threads,
                            float *logits);

typedef struct plp_progress plp_progress;

/* What a callback may answer; any other number counts as PLP_STOP. */
typedef enum plp_reply {
    PLP_PROCEED = 0, /* go on */
    PLP_STOP = 1,    /* return with things as they are, and measure nothing more: for an interruption */
    PLP_FINISH = 2   /* end the training and come to the end of fit: no further iteration is trained, an epoch that was
                        trained to its end is validated, the best model is measured on the test set: for stopping early
                        by a criterion or a limit of one's own. An evaluation goes on */
} plp_reply;

/* Called by a running function on the thread that called it. Returns a plp_reply. `progress` is valid during the call. */
typedef int (*plp_callback)(const plp_progress *progress, void *user_data);

/* Loss and errors on a dataset, as it is. threads: as above. callback: NULL; or called after each mini-batch, in
   PLP_PHASE_TEST, with epoch, epochs, learning_rate and seconds 0. Where it stops the evaluation, the function returns
   PLP_OK, and metrics are of the images so far: see their count. Measures a copy, whose memory it needs. */
plp_status plp_model_evaluate(const plp_model *model, const plp_dataset *dataset, int64_t threads,
                              plp_callback callback, void *user_data, plp_metrics *metrics);

void plp_model_free(plp_model *model);

/* ---- Prediction -------------------------------------------------------------------------------------------------- */

/* A predictor replaces or averages parameters θ as they are trained. All of them are one arithmetic on θ and one more
   vector of its size, the memory m, after each step of the optimizer:    m = a m + b θ, then θ = c θ + d m
   with four numbers that depend on the iteration alone: see plp_action. */
typedef enum plp_predictor_kind {
    PLP_PREDICTOR_PLP = 0, /* every `period` iterations: θ = Σ coefficients[i] θ_i over the latest iterates */
    PLP_PREDICTOR_LOOKAHEAD = 1, /* every `period` iterations: m += rate (θ - m); θ = m  (arXiv 1907.08610) */
    PLP_PREDICTOR_EMA = 2, /* every iteration: m = β m + (1 - β) θ; m is evaluated, θ trained on. β is decay, or with
                              warmup the lesser of that and (1 + t)/(10 + t) at iteration t */
    PLP_PREDICTOR_SWA = 3  /* from `start` on, every `period` iterations: m is the mean of the θ so far; m is evaluated,
                              θ trained on  (arXiv 1803.05407) */
} plp_predictor_kind;

/* What a prediction does to the optimizer's momentum, and to batch norm's running statistics in training. These may be
   predicted as the parameters are; of an average that is to average them likewise, and evaluate with them. Recomputed
   ones, an average's only, are that, and plp_trainer_fit measures them anew on 5,000 training images at each epoch's end,
   before the average itself is measured (as PyTorch's update_bn). Kept ones are the run's own, which do not fit an
   average. */
typedef enum plp_momentum_rule { PLP_MOMENTUM_KEPT = 0, PLP_MOMENTUM_RESET = 1 } plp_momentum_rule;
typedef enum plp_statistics_rule {
    PLP_STATISTICS_KEPT = 0,
    PLP_STATISTICS_PREDICTED = 1,
    PLP_STATISTICS_RECOMPUTED = 2
} plp_statistics_rule;

/* A kind looks at the options that name it, and at no others. */
typedef struct plp_predictor_options {
    size_t struct_size;
    plp_predictor_kind kind;
    int64_t period; /* PLP: 0, as many iterations as coefficients, or so many, not fewer. Lookahead: 5. SWA: 1. To 1e9 */
    int64_t start;  /* PLP, SWA: 0, the first iteration of the first period; 0 to 1e9. SWA usually gets three quarters of
                       the run */
    int64_t end;    /* PLP: INT64_MAX, the iteration from which it does nothing more; above start */
    double step;    /* PLP: 1, how far ahead, in steps between midpoints; for the paper's coefficients */
    const double *coefficients; /* PLP: NULL, the paper's (-h/2, 1/2, (1 + h)/2), h = step; or one's own, the oldest
                                   iterate's first, each -1e6 to 1e6; copied */
    int64_t coefficient_count;  /* PLP: 0; with one's own 2 to 1000 */
    double rate;                /* Lookahead: 0.5; 0 to 1 */
    double decay;               /* EMA: 0.999; 0 ..< 1 */
    int warmup;                 /* EMA: 1 */
    plp_momentum_rule momentum;     /* PLP, Lookahead: PLP_MOMENTUM_KEPT */
    plp_statistics_rule statistics; /* PLP, Lookahead: PLP_STATISTICS_KEPT; EMA: PREDICTED; SWA: RECOMPUTED */
} plp_predictor_options;

/* Fills `options` with the defaults of a kind, as above. struct_size: sizeof(plp_predictor_options), as the caller was
   compiled. */
plp_status plp_predictor_options_init(plp_predictor_options *options, size_t struct_size, plp_predictor_kind kind);

/* What a predictor does after the optimizer's step of one iteration. */
typedef struct plp_action {
    size_t struct_size;
    double memory[2];        /* m = memory[0] m + memory[1] θ; where memory[0] is 0, m may be anything before */
    double parameters[2];    /* then θ = parameters[0] θ + parameters[1] m */
    int changes_memory;      /* 0: memory is (1, 0), m stays as it is */
    int replaces_parameters; /* 0: parameters is (1, 0), θ stays as it is */
    int resets_momentum;     /* 1: the optimizer's momentum is to start anew */
    int is_average;          /* 1: m is now the model to evaluate */
    int remembers_start;     /* 1: before iteration 0, m is a copy of θ; of the predictor, the same at all iterations */
} plp_action;

/* The arithmetic of one iteration, counted from 0, for whoever computes elsewhere. Here it is done in float32. */
plp_status plp_predictor_action(const plp_predictor_options *options, int64_t iteration, plp_action *action);

/* A predictor at work on one vector, which somebody's own optimizer trains: in a loop, after each of its steps,
   plp_predictor_after_step. As fast as memory, on one thread for each processor; the arithmetic is the trainer's. For
   running statistics that are to be predicted too, a second one. */
typedef struct plp_predictor plp_predictor;

/* A predictor for `count` values. parameters: [count], as they are before the first step, where Lookahead and EMA
   start; read in this call only. */
plp_status plp_predictor_create(const plp_predictor_options *options, const float *parameters, int64_t count,
                                plp_predictor **predictor);

/* What follows a step: changes the memory and, where it is time, parameters [count]. replaced: 1 where it did that,
   else 0; or NULL. A caller who wants momentum reset then resets it. Values that are not finite are passed on. */
plp_status plp_predictor_after_step(plp_predictor *predictor, float *parameters, int *replaced);

/* Copies out the average, out: [count], which EMA has after its first step and SWA once its first period is over. */
plp_status plp_predictor_average(const plp_predictor *predictor, float *out);

/* Memory and place in the cycle, from which a predictor with the same options and count goes on bit for bit, in the
   same version of the library. `bytes` is the size of the caller's array, as plp_predictor_state_size tells. A state of
   other options or another count, and what is no state, is refused, and nothing has changed then. */
plp_status plp_predictor_state_size(const plp_predictor *predictor, size_t *bytes);
plp_status plp_predictor_get_state(const plp_predictor *predictor, void *state, size_t bytes);
plp_status plp_predictor_set_state(plp_predictor *predictor, const void *state, size_t bytes);

void plp_predictor_free(plp_predictor *predictor);

/* ---- Training ---------------------------------------------------------------------------------------------------- */

/* A model in training: optimizer, schedule, predictor, and how far it has come. */
typedef struct plp_trainer plp_trainer;

typedef enum plp_optimizer_kind {
    PLP_OPTIMIZER_SGD = 0,  /* PyTorch's: g += weight_decay θ; v = μ v + g; θ -= lr v, or lr (g + μ v) with nesterov */
    PLP_OPTIMIZER_ADAMW = 1 /* PyTorch's: θ -= lr weight_decay θ; m = β1 m + (1 - β1) g; v = β2 v + (1 - β2) g²;
                               θ -= lr m^ / (sqrt(v^) + epsilon), where m^ = m / (1 - β1^t) and v^ likewise at step t.
                               A predictor that resets momentum resets m and its t (arXiv 1711.05101) */
} plp_optimizer_kind;

/* A kind looks at the options that name it, or none, and at no others. */
typedef struct plp_optimizer_options {
    size_t struct_size;
    plp_optimizer_kind kind;
    double learning_rate; /* 0.001; 0 to 1000 */
    double weight_decay;  /* 1e-4, AdamW: 0.01; 0 to 1000 */
    double momentum;      /* SGD: 0.9; 0 ..< 1 */
    int nesterov;         /* SGD: 0; 1 needs a momentum above 0 */
    int demon;            /* SGD: 0; 1: the momentum decays to 0 over the whole run (DEMON, arXiv 1910.04952) */
    double beta1;         /* AdamW: 0.9; 0 ..< 1 */
    double beta2;         /* AdamW: 0.999; 0 ..< 1 */
    double epsilon;       /* AdamW: 1e-8; above 0, to 1000 */
} plp_optimizer_options;

/* Fills `options` with the defaults of a kind, as above. struct_size: sizeof(plp_optimizer_options), as the caller was
   compiled. */
plp_status plp_optimizer_options_init(plp_optimizer_options *options, size_t struct_size, plp_optimizer_kind kind);

/* A schedule is a factor on learning_rate, so that the same run at 7/6 of it differs in one number. */
typedef enum plp_schedule {
    PLP_SCHEDULE_CONSTANT = 0,   /* 1 */
    PLP_SCHEDULE_CYCLIC = 1,     /* triangular, from 1 to cyclic_peak and back; PyTorch's CyclicLR */
    PLP_SCHEDULE_MULTI_STEP = 2, /* times step_factor at each of `milestones`; PyTorch's MultiStepLR */
    PLP_SCHEDULE_COSINE = 3      /* half a cosine from 1 down to cosine_floor over the whole run */
} plp_schedule;

/* With schedule = PLP_SCHEDULE_CYCLIC the defaults are the paper's baseline; a predictor of kind PLP_PREDICTOR_PLP
   makes that its method. The whole run, which some options speak of, has plp_fit_options.epochs. */
typedef struct plp_trainer_options {
    size_t struct_size;

    const plp_optimizer_options *optimizer; /* NULL: SGD with its defaults; copied */
    const plp_predictor_options *predictor; /* NULL: none; copied */
    const plp_predictor_options *watch; /* NULL: none; a PLP of three coefficients whose predictions are held against what
                                           comes, and not used: see plp_watched; copied */
    int64_t watch_samples; /* 1: parameters of each layer whose values are recorded at every iteration; 0 to 1000 */

    plp_schedule schedule;   /* PLP_SCHEDULE_CONSTANT */
    double warmup_epochs;    /* 0: so many epochs of linear warm-up in front of the schedule; 0 to 1e6 */
    double cyclic_peak;      /* 2; 0 to 1e6 */
    int64_t cyclic_up;       /* 2000 iterations from 1 to cyclic_peak; 1 to 1e9 */
    int64_t cyclic_down;     /* 2000 iterations back; 1 to 1e9 */
    const int64_t *milestones; /* NULL: rising epochs above 0, `milestone_count` of them; copied */
    int64_t milestone_count;   /* 0 */
    int64_t milestone_total;   /* 0; else milestones are those of a run of so many epochs, and lie as far into this one */
    double step_factor;        /* 0.2; 0 to 1000 */
    double cosine_floor;       /* 0; 0 to 1 */

    int64_t batch_size; /* 128 images; 1 to 65,536 */
    int64_t crop;       /* 4: pixels of zero padding around an image before a random crop; 0 (off) to 96 */
    int flip;           /* 1: mirror every other image, at random */
    double rotation;    /* 0: up to so many degrees either way; 0 to 180 */
    uint64_t seed;      /* 0: of order, augmentation, dropout and validation split */
    int64_t threads;    /* 0: see above; to 1024. Results do not depend on it */
} plp_trainer_options;

/* Fills `options` with the defaults above. struct_size: sizeof(plp_trainer_options), as the caller was compiled. */
plp_status plp_trainer_options_init(plp_trainer_options *options, size_t struct_size);

/* A trainer for `model`, which it changes as it trains. */
plp_status plp_trainer_create(plp_model *model, const plp_trainer_options *options, plp_trainer **trainer);

void plp_trainer_free(plp_trainer *trainer);

typedef struct plp_epoch {
    size_t struct_size;
    int64_t epoch;
    int is_complete;      /* 0: under way, or stopped in its middle */
    int64_t iterations;   /* mini-batches trained on */
    int64_t predictions;  /* how many of them ended with parameters that a predictor replaced */
    double learning_rate; /* of its last iteration */
    double seconds;       /* of training; validation and callbacks do not count */
    double images_per_second;
    plp_metrics training;   /* over its mini-batches as they came: augmented, with dropout, parameters changing */
    plp_metrics validation; /* of the model at its end; count 0 without */
} plp_epoch;

typedef enum plp_phase {
    PLP_PHASE_TRAINING = 0,   /* a mini-batch was trained on */
    PLP_PHASE_VALIDATION = 1, /* a mini-batch of the validation images was measured */
    PLP_PHASE_EPOCH_END = 2,  /* an epoch is complete: see `finished` */
    PLP_PHASE_TEST = 3,       /* a mini-batch of the test images, or in an evaluation, was measured */
    PLP_PHASE_STATISTICS = 4  /* a mini-batch was used for PLP_STATISTICS_RECOMPUTED; nothing was measured */
} plp_phase;

/* Where a run or an evaluation stands after an iteration. */
struct plp_progress {
    size_t struct_size;
    plp_phase phase;
    int64_t epoch;
    int64_t epochs;       /* of the whole run */
    int64_t iteration;    /* of this phase */
    int64_t iterations;   /* of this phase, in all */
    double learning_rate; /* of the latest training iteration */
    int predicted;        /* 1: a predictor replaced the parameters in this iteration */
    plp_metrics batch;    /* this iteration's mini-batch */
    plp_metrics running;  /* this phase so far; at an epoch's end, its training */
    double seconds;       /* spent in this epoch's training so far */
    double images_per_second;
    const plp_epoch *finished; /* in PLP_PHASE_EPOCH_END: the epoch that is complete now; else NULL */
};

typedef struct plp_fit_options {
    size_t struct_size;
    int64_t epochs;             /* 1: the length of the whole run, epochs of an earlier fit or checkpoint included; 1
                                   to 25,000 */
    double validation_fraction; /* 0: of the training images, held out at random to choose the best model; 0 ..< 1 */
    const plp_dataset *validation; /* NULL; or a set of one's own for that, with validation_fraction 0 */
    const plp_dataset *test;       /* NULL; or a set measured once, at the end, with the best model */
    plp_callback callback;         /* NULL; or called after each iteration and at each epoch's end. Of the trainer, the
                                      functions that take a const plp_trainer may be called from within, and all of the
                                      model's: to save a checkpoint, to watch parameters, to measure them, even to set
                                      them. The others are refused. */
    void *user_data;               /* NULL: handed to callback */
} plp_fit_options;

/* Fills `options` with the defaults above. struct_size: sizeof(plp_fit_options), as the caller was compiled. */
plp_status plp_fit_options_init(plp_fit_options *options, size_t struct_size);

/* Trains until the run has `epochs` epochs, then measures the best model on the test set, once. The best model, that of
   highest validation accuracy at an epoch's end, the first of equals (without validation, of the latest complete
   epoch), is kept beside the one in training: see plp_trainer_best_model. Datasets must have images of the model's size
   and no more classes than it.
   Ended by its callback it returns PLP_OK, model and history are as of the last iteration, and the test set has been
   measured after PLP_FINISH, and not after PLP_STOP. Called again, on the same data, it goes on from there, or with more
   epochs than before. Data are the same where names and numbers of images are; their contents are not compared.
   NOT_FINITE: a loss, or the model's values at an epoch's end, after the epochs and iterations that the message counts;
   history and best model are as they were before that. */
plp_status plp_trainer_fit(plp_trainer *trainer, const plp_dataset *train, const plp_fit_options *options);

/* One iteration on a mini-batch as it is, without augmentation, outside any run: at learning_rate and momentum,
   whatever the schedule and DEMON; the predictor's cycle goes on. images: [count][3][size][size], PLP_UINT8 or
   PLP_FLOAT32;
   labels: [count]; count: 1 to the batch size. metrics: the mini-batch's before the update, or NULL. NOT_FINITE. */
plp_status plp_trainer_step(plp_trainer *trainer, const void *images, plp_dtype dtype, const int32_t *labels,
                            int64_t count, plp_metrics *metrics);

/* The same forward and backward pass without the update; running statistics stay as they are. gradients: NULL, or the
   place for them, [parameter_count], to which they are copied in the same turn: of this mini-batch, whatever other
   threads do. One after another as plp_model_entry has the parameters, each in its entry's layout, without weight decay.
   `bytes` is the array's size and must be theirs. */
plp_status plp_trainer_gradients(plp_trainer *trainer, const void *images, plp_dtype dtype, const int32_t *labels,
                                 int64_t count, plp_metrics *metrics, float *gradients, size_t bytes);

/* Copies out the gradient that the latest step or plp_trainer_gradients, of any thread, left for the model's entry
   `index`, a parameter, in the entry's layout. Weight decay is not in it. `bytes` must equal the entry's. */
plp_status plp_trainer_get_gradient(const plp_trainer *trainer, int64_t index, float *values, size_t bytes);

/* Measures the model in training (with EMA and SWA: the average) on a dataset, as plp_model_evaluate does, on as many
   threads as the trainer's. */
plp_status plp_trainer_evaluate(const plp_trainer *trainer, const plp_dataset *dataset, plp_callback callback,
                                void *user_data, plp_metrics *metrics);

/* A copy of the best model so far, plp_history.best_epoch's, the caller's to free; before any epoch is complete, of the
   one in training (with EMA and SWA: the average). */
plp_status plp_trainer_best_model(const plp_trainer *trainer, plp_model **model);

/* ---- History ----------------------------------------------------------------------------------------------------- */

typedef struct plp_history {
    size_t struct_size;
    const char *data;    /* what is trained on and what chooses the best model; valid until the trainer is freed */
    int64_t epoch_count; /* epochs recorded; the last may be incomplete */
    int64_t best_epoch;  /* the best model's; without validation, the latest complete one; -1 before there is one */
    int is_stopped;      /* 1: the latest fit was cut short, by its callback's PLP_STOP or an error */
    plp_metrics test;    /* of the best model; count 0 where no test set was given or fit did not reach its end */
} plp_history;

plp_status plp_trainer_history(const plp_trainer *trainer, plp_history *history);
/* The same, and of the same moment the records: the first `room` of them, or all where there are no more. epochs: [room],
   the first with its struct_size set. */
plp_status plp_trainer_epochs(const plp_trainer *trainer, plp_history *history, plp_epoch *epochs, int64_t room);

/* ---- Movement ---------------------------------------------------------------------------------------------------- */

/* What a trainer with plp_trainer_options.watch has recorded. A layer is a parameter of the model, in the order of
   plp_model_entry; a cycle is one of PLP's whose next iteration has been made too. */
typedef struct plp_watched {
    size_t struct_size;
    int64_t cycles;
    int64_t layers;
    int64_t iterations; /* those done */
    int64_t samples;    /* of each layer */
} plp_watched;

/* INVALID_ARGUMENT where the trainer has no watch. */
plp_status plp_trainer_watched(const plp_trainer *trainer, plp_watched *watched);

/* How a layer moved from m23, the midpoint of the latest two of a cycle's three iterates, and was predicted to. */
typedef struct plp_move {
    float predicted; /* |θ' - m23|², of PLP's prediction θ' */
    float actual;    /* |m34 - m23|², m34 being the midpoint of the cycle's last iterate and the one after it */
    float product;   /* (θ' - m23) · (m34 - m23) */
} plp_move;

/* What was recorded, of one moment and no more of it than there is room for: `watched`, as plp_trainer_watched has filled
   it, says for how many cycles and iterations there is, and then how many were copied, from the first on. Of the cycles
   the moves, [cycles][layers], and the iterations, counted from 0, after which the predictions were made, [cycles]; the
   sampled parameters as the iterations left them, [iterations][layers][samples]. Each array may be NULL. */
plp_status plp_trainer_records(const plp_trainer *trainer, plp_watched *watched, plp_move *moves, int64_t *iterations,
                               float *trajectories);

/* ---- Checkpoints ------------------------------------------------------------------------------------------------- */

/* Writes all a run needs to go on bit for bit: parameters, statistics, the optimizer's vectors, the predictor's memory
   and its place in the cycle, counters, history, best model. Replaces an older file as plp_model_save does. NOT_FOUND,
   IO. */
plp_status plp_trainer_save(const plp_trainer *trainer, const char *path);

/* Takes all that back, into a trainer made with the same model configuration and options. On failure nothing has
   changed. NOT_FOUND, IO, CORRUPT, INVALID_ARGUMENT (another network, other options, or a checkpoint of another
   version of its format; the message says which). */
plp_status plp_trainer_restore(plp_trainer *trainer, const char *path);

/* ---- Profile ----------------------------------------------------------------------------------------------------- */

/* Time spent in one operation of one layer, over all training iterations of this trainer: while two are computed at the
   same time, half of it each. The last entry, "update" of "parameters", is the optimizer's step, prediction included. */
typedef struct plp_profile_entry {
    size_t struct_size;
    const char *layer;     /* such as "conv2_x.0.residual_function.0" */
    const char *operation; /* such as "convolution", "weightGradient" */
    double seconds;
    int64_t calls;
} plp_profile_entry;

/* Entries come in the order of computation: forward, backward, update. Their strings live as long as the trainer.
   entries: room for `count`, the first with its struct_size set. */
plp_status plp_trainer_profile_count(const plp_trainer *trainer, int64_t *count);
plp_status plp_trainer_profile(const plp_trainer *trainer, int64_t first, int64_t count, plp_profile_entry *entries);

/* ---- The bare formula -------------------------------------------------------------------------------------------- */

/* result[i] = Σ_k coefficients[k] vectors[k][i] for i ..< count: the prediction from `vector_count` iterates, oldest
   first, 1 to 1000. coefficients: [vector_count], or NULL for the paper's (-1/2, 1/2, 1) over three. result may be one
   of them; memory that overlaps one in part is refused. */
plp_status plp_predict(const float *const *vectors, const double *coefficients, int64_t vector_count, int64_t count,
                       float *result);

#ifdef __cplusplus
}
#endif

#endif
