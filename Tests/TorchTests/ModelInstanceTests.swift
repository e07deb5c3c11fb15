import Glibc
import Testing
import Torch

extension ModelInstance {
    /// Runs a forward pass and says on which thread: both happen in one job of the instance.
    fileprivate func forwardWithThread(_ batch: Fixture.Case) throws -> (outputs: [Tensor], thread: UInt) {
        let outputs = try forward(inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
        return (outputs, UInt(pthread_self()))
    }

    /// Keeps the thread of the instance busy until `gate` is opened.
    fileprivate func hold(_ gate: Gate) { gate.wait() }
}

/// A semaphore that blocks a thread.
///
/// `@unchecked Sendable`: `sem_t` is made for use by several threads; the pointer never changes and is freed by `deinit`.
private final class Gate: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func wait() { while sem_wait(semaphore) != 0 {} }
    func open() { sem_post(semaphore) }
}

@Suite("Instances on threads of their own")
struct ModelInstanceTests {
    @Test("every forward pass runs on the instance's thread, and two instances have two")
    func threads() async throws {
        let path = Fixture.path("bert-gru-traced-float16.pt")
        let first = try await ModelInstance.load(path: path, name: "torch-a")
        let second = try await ModelInstance.load(path: path, name: "torch-b")
        var seen: [Set<UInt>] = [[], []]
        for batch in Fixture.cases {
            for (index, instance) in [first, second].enumerated() {
                let (outputs, thread) = try await instance.forwardWithThread(batch)
                #expect(largestDifference(outputs[1].values, batch.slots) < 1e-4)
                seen[index].insert(thread)
            }
        }
        #expect(seen[0].count == 1 && seen[1].count == 1 && seen[0] != seen[1])
        let cooperative = await withTaskGroup(of: UInt.self, returning: Set<UInt>.self) { group in
            for _ in 0..<64 { group.addTask { UInt(pthread_self()) } }
            return await group.reduce(into: []) { $0.insert($1) }
        }
        #expect(cooperative.isDisjoint(with: seen[0].union(seen[1])))
        #expect(threadNames().contains("torch-a") && threadNames().contains("torch-b"))
    }

    @Test("many callers of several instances all get their own answer")
    func concurrency() async throws {
        var instances: [ModelInstance] = []
        for index in 0..<4 {
            instances.append(try await ModelInstance.load(path: Fixture.path(Fixture.forms[index])))
            try await instances[index].warm([BatchShape(rows: 1, length: 8), BatchShape(rows: 8, length: 16)])
        }
        try await withThrowingTaskGroup(of: Float.self) { group in
            for number in 0..<240 {
                let instance = instances[number % instances.count]
                let batch = Fixture.cases[number % Fixture.cases.count]
                group.addTask {
                    let outputs = try await instance.forward(
                        inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
                    return max(largestDifference(outputs[0].values, batch.intent), largestDifference(outputs[1].values, batch.slots))
                }
            }
            var answers = 0
            for try await difference in group {
                #expect(difference < 1e-4)
                answers += 1
            }
            #expect(answers == 240)
        }
    }

    @Test("calls that wait when the model is unloaded are each answered")
    func unload() async throws {
        let instance = try await ModelInstance.load(path: Fixture.path("identity.pt"))
        #expect(await instance.isLoaded)
        let gate = Gate()
        let held = Task { await instance.hold(gate) }
        let unloading = Task { await instance.unload() }
        let calls = (0..<50).map { number in
            Task { () -> Result<[Tensor], TorchError> in
                do throws(TorchError) {
                    return .success(try await instance.forward(inputIDs: [Int64(number)], attentionMask: [1], rows: 1, length: 1))
                } catch {
                    return .failure(error)
                }
            }
        }
        gate.open()
        await held.value
        await unloading.value
        for (number, call) in calls.enumerated() {
            switch await call.value {
            case .success(let outputs): #expect(outputs[0].values == [Float(number)])
            case .failure(let error): #expect(error.code == .unloaded)
            }
        }
        await instance.unload()
        #expect(await instance.parameterBytes == 0)
        #expect(await !instance.isLoaded)
        await #expect(throws: TorchError.self) { try await instance.warm([BatchShape(rows: 1, length: 1)]) }
    }

    @Test("the threads of an instance, its team included, end with its last reference")
    func threadEnds() async throws {
        await #expect(processExitsWith: .success) {
            let path = Fixture.path("bert-gru-traced.pt")
            try TorchRuntime.setIntraOpThreads(2)
            var instance: ModelInstance? = try await ModelInstance.load(path: path, name: "torch-ends")
            try await instance?.warm([BatchShape(rows: 32, length: 64)])
            // The thread and the second thread of its team, which inherits the name.
            #expect(threadNames().filter { $0 == "torch-ends" }.count == 2)
            instance = nil
            // A detached thread tells nobody that it ended: ask until it has.
            let clock = ContinuousClock()
            let limit = clock.now.advanced(by: .seconds(10))
            while threadNames().contains("torch-ends"), clock.now < limit { try await clock.sleep(for: .milliseconds(2)) }
            #expect(!threadNames().contains("torch-ends"))
        }
    }

    @Test("an instance that is dropped while a call runs still answers it")
    func droppedWhileBusy() async throws {
        for number in 0..<50 {
            let call = Task {
                let instance = try await ModelInstance.load(path: Fixture.path("identity.pt"))
                return try await instance.forward(inputIDs: [Int64(number)], attentionMask: [1], rows: 1, length: 1)
            }
            #expect(try await call.value[0].values == [Float(number)])
        }
    }

    @Test("errors of loading and of warming come back from the thread")
    func errors() async throws {
        let missing = await #expect(throws: TorchError.self) { _ = try await ModelInstance.load(path: Fixture.path("missing.pt")) }
        #expect(missing?.code == .fileNotFound)
        let instance = try await ModelInstance.load(path: Fixture.path("bert-gru-traced.pt"))
        for shape in [BatchShape(rows: 0, length: 8), BatchShape(rows: 1, length: -1), BatchShape(rows: .max, length: 2)] {
            let error = await #expect(throws: TorchError.self) { try await instance.warm([shape]) }
            #expect(error?.code == .badShape)
        }
        let long = await #expect(throws: TorchError.self) { try await instance.warm([BatchShape(rows: 1, length: 65)]) }
        #expect(long?.code == .modelFailed)
    }
}
