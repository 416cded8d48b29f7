// `import PLPTraining` brings what a program that trains needs: models, data sets, optimizers, predictors, the error type,
// and what these speak of: a predictor's arithmetic, parameters, threads, metrics, how images become numbers.

@_exported import PLPDatasets
@_exported import PLPNetworks
@_exported import PLPOptimization

@_exported import struct PLPBase.Failure
@_exported import class PLPKernels.FloatBuffer
@_exported import class PLPKernels.Threads
@_exported import struct PLPKernels.BatchMetrics
@_exported import struct PLPKernels.Normalization
@_exported import struct PLPKernels.PredictionAction
