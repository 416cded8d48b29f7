// `import Training` brings what a program that trains needs: models, data sets, optimizers, predictors, the error type.

@_exported import Datasets
@_exported import Networks
@_exported import Optimization

@_exported import struct Kernels.Failure
