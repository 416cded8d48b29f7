/*
 * Trains a small ResNet18 with parameter linear prediction on the synthetic images, then predicts some classes.
 *
 *     cc train.c $(pkg-config --cflags --libs plp) -o train && ./train
 */
#include <plp.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program with the library's message where a call fails. */
static void check(plp_status status)
{
    if (status) {
        fprintf(stderr, "%s\n", plp_last_error_message());
        exit(1);
    }
}

/* Called after each iteration; anything but 0 would end the training. */
static int show(const plp_progress *progress, void *user_data)
{
    (void)user_data;
    if (progress->phase == PLP_PHASE_EPOCH_END)
        printf("epoch %d of %d: loss %.3f, top-1 error %.3f; validation %.3f, %.3f\n", (int)progress->epoch + 1,
               (int)progress->epochs, progress->finished->training.loss, progress->finished->training.top1_error,
               progress->finished->validation.loss, progress->finished->validation.top1_error);
    return 0;
}

int main(int count, char **arguments)
{
    const int images = count > 1 ? atoi(arguments[1]) : 10000;
    plp_dataset *train, *test;
    check(plp_dataset_synthetic(PLP_SPLIT_TRAIN, images, 0, &train));
    check(plp_dataset_synthetic(PLP_SPLIT_TEST, 1000, 0, &test));

    plp_model_options network;
    check(plp_model_options_init(&network, sizeof network));
    network.architecture = "resnet18";
    network.width = 0.25;
    plp_model *model;
    check(plp_model_create(&network, &model));

    plp_optimizer_options sgd;
    check(plp_optimizer_options_init(&sgd, sizeof sgd, PLP_OPTIMIZER_SGD));
    sgd.learning_rate = 0.1;
    sgd.weight_decay = 5e-4;
    plp_predictor_options prediction;
    check(plp_predictor_options_init(&prediction, sizeof prediction, PLP_PREDICTOR_PLP));
    plp_trainer_options options;
    check(plp_trainer_options_init(&options, sizeof options));
    options.optimizer = &sgd;
    options.schedule = PLP_SCHEDULE_COSINE;
    options.predictor = &prediction;
    plp_trainer *trainer;
    check(plp_trainer_create(model, &options, &trainer));

    plp_fit_options fit;
    check(plp_fit_options_init(&fit, sizeof fit));
    fit.epochs = 4;
    fit.validation_fraction = 0.1;
    fit.test = test;
    fit.callback = show;
    check(plp_trainer_fit(trainer, train, &fit));

    plp_history history = {.struct_size = sizeof history};
    check(plp_trainer_history(trainer, &history));
    printf("best epoch %d; on %d test images: top-1 error %.3f, top-5 error %.3f\n", (int)history.best_epoch + 1,
           (int)history.test.count, history.test.top1_error, history.test.top5_error);

    plp_model *best;
    plp_dataset_info info = {.struct_size = sizeof info};
    float logits[4][100];
    check(plp_trainer_best_model(trainer, &best));
    check(plp_dataset_describe(test, &info));
    check(plp_model_logits(best, info.images, PLP_UINT8, 4, 0, logits[0]));
    for (int image = 0; image < 4; image++) {
        int label = 0;
        for (int candidate = 1; candidate < 100; candidate++)
            if (logits[image][candidate] > logits[image][label])
                label = candidate;
        printf("image %d: class %d, predicted %d\n", image, (int)info.labels[image], label);
    }
    check(plp_model_save(best, "best.safetensors"));

    plp_model_free(best);
    plp_trainer_free(trainer);
    plp_model_free(model);
    plp_dataset_free(test);
    plp_dataset_free(train);
    return 0;
}
