/*
 * Parameter linear prediction in a training loop of one's own: stochastic gradient descent with momentum fits a cubic to
 * noisy points, and plp predicts its parameters after every third step.
 *
 *     cc own_loop.c $(pkg-config --cflags --libs plp) -o own_loop && ./own_loop
 */
#include <plp.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARAMETERS = 4, POINTS = 256, STEPS = 600 };

/* Ends the program with the library's message where a call fails. */
static void check(plp_status status)
{
    if (status) {
        fprintf(stderr, "%s\n", plp_last_error_message());
        exit(1);
    }
}

static float random_in_unit(void) { return (float)rand() / (float)RAND_MAX * 2 - 1; }

static float value(const float *parameters, float x)
{
    return parameters[0] + x * (parameters[1] + x * (parameters[2] + x * parameters[3]));
}

int main(void)
{
    const float truth[PARAMETERS] = {0.5f, -1, 0.25f, 2};
    float x[POINTS], y[POINTS], parameters[PARAMETERS] = {0}, velocity[PARAMETERS] = {0};
    for (int i = 0; i < POINTS; i++) {
        x[i] = random_in_unit();
        y[i] = value(truth, x[i]) + 0.1f * random_in_unit();
    }

    plp_predictor_options options;
    plp_predictor *predictor;
    check(plp_predictor_options_init(&options, sizeof options, PLP_PREDICTOR_PLP));
    check(plp_predictor_create(&options, parameters, PARAMETERS, &predictor));

    int predictions = 0;
    for (int step = 0; step < STEPS; step++) {
        float gradient[PARAMETERS] = {0};
        for (int k = 0; k < 16; k++) { /* a mini-batch */
            const int i = rand() % POINTS;
            const float error = value(parameters, x[i]) - y[i];
            float power = 1;
            for (int p = 0; p < PARAMETERS; p++, power *= x[i])
                gradient[p] += error * power / 16;
        }
        for (int p = 0; p < PARAMETERS; p++) {
            velocity[p] = 0.9f * velocity[p] + gradient[p];
            parameters[p] -= 0.02f * velocity[p];
        }
        int replaced;
        check(plp_predictor_after_step(predictor, parameters, &replaced));
        predictions += replaced;
    }
    plp_predictor_free(predictor);

    float loss = 0;
    for (int i = 0; i < POINTS; i++)
        loss += (value(parameters, x[i]) - y[i]) * (value(parameters, x[i]) - y[i]) / POINTS;
    printf("%d predictions in %d steps; mean squared error %.4f\n", predictions, STEPS, loss);
    return loss > 0.05f;
}
