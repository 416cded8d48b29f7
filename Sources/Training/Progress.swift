// What a running `fit` tells its callback, and what the callback may answer.

extension Trainer {
    /// Where a run or an evaluation stands after an iteration. Epochs and iterations are counted from 0.
    public struct Progress: Sendable {
        public enum Phase: String, Sendable, CaseIterable {
            /// A mini-batch was trained on.
            case training
            /// A mini-batch of the validation images was measured.
            case validation
            /// A mini-batch of training images was passed on to measure an average's running statistics. Nothing else is
            /// known of it.
            case statistics
            /// An epoch is complete, with what was measured after it: see ``finished``.
            case epochEnd
            /// A mini-batch of the test images, or in an evaluation, was measured.
            case test
        }

        /// The callback's answer.
        public enum Reply: Sendable {
            case proceed
            /// Ends `fit` after this iteration, with model and history as they are: nothing more is measured. Ends an
            /// evaluation with what it has measured.
            case stop
            /// Ends the training and comes to the end of `fit`: no further iteration is trained, an epoch that was
            /// trained to its end is validated, and the best model is measured on the test set. To stop early by a
            /// criterion or a limit of one's own. An evaluation goes on.
            case finish
        }

        public var phase: Phase
        /// The epoch, and the number of epochs of the whole run.
        public var epoch: Int
        public var epochs: Int
        /// The iteration, and the number of iterations of this phase.
        public var iteration: Int
        public var iterations: Int
        /// The learning rate of the latest training iteration.
        public var learningRate: Double
        /// Whether a predictor replaced the parameters in this iteration.
        public var predicted: Bool
        /// Of this iteration's mini-batch.
        public var batch: Metrics
        /// Of this phase so far; at an epoch's end, of its training.
        public var running: Metrics
        /// Seconds spent in this epoch's training so far.
        public var seconds: Double
        /// The epoch that is complete now, with all that was measured; in the phase `epochEnd` only.
        public var finished: History.Epoch?

        /// Images trained on in a second, in this epoch.
        public var imagesPerSecond: Double
    }
}
