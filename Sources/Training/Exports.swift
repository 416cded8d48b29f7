// `import Training` brings what a program that trains needs: models, data sets, optimizers, predictors, the error type.

@_exported import PLPDatasets
@_exported import PLPNetworks
@_exported import PLPOptimization

@_exported import struct PLPBase.Failure
@_exported import struct PLPKernels.PredictionAction
