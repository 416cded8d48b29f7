// Schedules against PyTorch 1.13's, whose values come from stepping torch.optim.lr_scheduler's classes in python3:
// CyclicLR, MultiStepLR, CosineAnnealingLR, and ChainedScheduler([LinearLR, CosineAnnealingLR]) for the warm-up.

import PLPBase
import PLPOptimization
import Testing

@Suite struct ScheduleTests {
    func expect(
        _ schedule: Schedule, learningRate: Double, total: Int, perEpoch: Int = 1, _ table: [Int: Double],
        location: SourceLocation = #_sourceLocation
    ) {
        for (iteration, expected) in table {
            let position = RunPosition(iteration: iteration, total: total, perEpoch: perEpoch)
            let found = learningRate * schedule.factor(at: position)
            #expect(abs(found - expected) < 1e-14, "iteration \(iteration)", sourceLocation: location)
        }
    }

    @Test func constant() {
        expect(.constant, learningRate: 0.1, total: 10, [0: 0.1, 9: 0.1])
    }

    @Test func cyclicAsInThePaper() {
        // CyclicLR(o, 0.001, 0.002, step_size_up=2000, cycle_momentum=False)
        expect(
            .cyclic(), learningRate: 0.001, total: 8000,
            [
                0: 0.001, 1: 0.0010005, 500: 0.00125, 1999: 0.0019995, 2000: 0.002, 2001: 0.0019995, 3000: 0.0015,
                3999: 0.0010005, 4000: 0.001, 4001: 0.0010005, 6000: 0.002, 7999: 0.0010005,
            ])
    }

    @Test func cyclicWithUnevenSides() {
        // CyclicLR(o, 0.01, 0.04, step_size_up=3, step_size_down=5, cycle_momentum=False)
        let values = [
            0.01, 0.02, 0.03, 0.04, 0.034, 0.028, 0.022, 0.016, 0.01, 0.02, 0.03, 0.04, 0.034, 0.028, 0.022, 0.016,
            0.01,
        ]
        expect(
            .cyclic(peak: 4, up: 3, down: 5), learningRate: 0.01, total: 17,
            Dictionary(uniqueKeysWithValues: values.enumerated().map { ($0, $1) }))
    }

    @Test func multiStep() {
        // MultiStepLR(o, [2, 4, 5], 0.2), stepped every seven iterations
        expect(
            .multiStep(milestones: [2, 4, 5], factor: 0.2), learningRate: 0.1, total: 42, perEpoch: 7,
            [
                0: 0.1, 6: 0.1, 13: 0.1, 14: 0.02, 27: 0.02, 28: 0.004, 34: 0.004, 35: 0.0008, 41: 0.0008,
            ])
    }

    @Test func milestonesOfALongerRun() {
        // MultiStepLR(o, [3, 6, 8], 0.2) in a run of 10 epochs; within epochs (1.8, 3.6, 4.8) in one of 6
        let schedule = Schedule.multiStep(milestones: [60, 120, 160], total: 200)
        expect(
            schedule, learningRate: 0.1, total: 70, perEpoch: 7,
            [0: 0.1, 20: 0.1, 21: 0.02, 41: 0.02, 42: 0.004, 55: 0.004, 56: 0.0008, 69: 0.0008])
        expect(
            schedule, learningRate: 0.1, total: 60, perEpoch: 10,
            [17: 0.1, 18: 0.02, 35: 0.02, 36: 0.004, 48: 0.0008])
        expect(
            .multiStep(milestones: [1, 2], total: 3), learningRate: 1, total: 21, perEpoch: 7,
            [6: 1, 7: 0.2, 13: 0.2, 14: 0.04])
        let far = RunPosition(iteration: .max - 1, total: .max, perEpoch: 1)
        #expect(Schedule.multiStep(milestones: [1, .max], total: .max).factor(at: far).isFinite)
    }

    @Test func cosine() {
        // CosineAnnealingLR(o, 20, eta_min=0.001)
        let values = [
            0.1, 0.09939057285945932, 0.09757729755661011, 0.09460482294732421, 0.09054634122155991,
            0.0855017856687341, 0.07959536998847742, 0.07297252973710756, 0.0657963412215599, 0.05824350601949144,
            0.0505, 0.04275649398050859, 0.03520365877844011, 0.02802747026289244, 0.02140463001152259,
            0.015498214331265903, 0.010453658778440109, 0.006395177052675795, 0.0034227024433899004,
            0.001609427140540686,
        ]
        expect(
            .cosine(floor: 0.01), learningRate: 0.1, total: 20, perEpoch: 4,
            Dictionary(uniqueKeysWithValues: values.enumerated().map { ($0, $1) }))
    }

    @Test func warmUpBeforeCosine() {
        // ChainedScheduler([LinearLR(o, start_factor=1/5, total_iters=4), CosineAnnealingLR(o, 20)])
        expect(
            .warmUp(epochs: 1.25, then: .cosine()), learningRate: 0.1, total: 20, perEpoch: 4,
            [
                0: 0.02, 1: 0.03975376681190276, 2: 0.058531695488854625, 3: 0.07564026096753473,
                4: 0.0904508497187474, 5: 0.08535533905932739, 6: 0.07938926261462367, 10: 0.05,
                19: 0.0006155829702431171,
            ])
    }

    @Test func optimizerTakesTheScheduledRate() throws {
        let run = try Run(Problem(), SGD(learningRate: 0.1), schedule: .cosine())
        #expect(run.step().learningRate == 0.1)
        let halfway = run.step(at: RunPosition(iteration: 10, total: 20, perEpoch: 5))
        #expect(abs(halfway.learningRate - 0.05) < 1e-15)
    }

    @Test(arguments: [
        (Schedule.cyclic(peak: -1), "cyclic schedule's peak: found -1.0, expected a number from 0 to 1000000"),
        (.cyclic(up: 0), "cyclic schedule's iterations up: found 0"),
        (.cyclic(down: -3), "cyclic schedule's iterations down: found -3"),
        (.multiStep(milestones: [3, 2]), "multi-step schedule's milestones: found [3, 2], expected epochs above 0"),
        (.multiStep(milestones: [1], factor: .nan), "multi-step schedule's factor: found nan"),
        (.multiStep(milestones: [1], total: -1), "multi-step schedule's total: found -1"),
        (.cosine(floor: 1.5), "cosine schedule's floor: found 1.5, expected a number from 0 to 1"),
        (.warmUp(epochs: .infinity, then: .constant), "warm-up's epochs: found inf"),
        (.warmUp(then: .cosine(floor: .nan)), "cosine schedule's floor: found nan"),
    ])
    func refusesWhatMakesNoSense(schedule: Schedule, message: String) {
        let failure = #expect(throws: Failure.self) { try schedule.validate() }
        #expect(failure?.kind == .invalidArgument && failure?.message.hasPrefix(message) == true)
    }
}
