import Foundation
import PLPBase
import Synchronization
import Testing

@Suite struct ForkTests {
    /// A fork that waits lets nobody pass before it: not even whoever it waits for, unless that has passed already.
    @Test(.timeLimit(.minutes(1))) func whoHasPassedDoesNotWaitForAForkThatWaits() {
        let begins = Atomic(false)
        let alone = Atomic(false)
        Fork.postponed {
            Thread.detachNewThread {
                begins.store(true, ordering: .relaxed)
                Fork.alone { alone.store(true, ordering: .relaxed) }  // waits as a fork does
            }
            while !begins.load(ordering: .relaxed) { usleep(1000) }
            usleep(100_000)
            let isAlone = Fork.postponed { alone.load(ordering: .relaxed) }
            #expect(!isAlone)
        }
        while !alone.load(ordering: .relaxed) { usleep(1000) }
    }
}
