import NIOCore
import NIOPosix

/// Runs the jobs of tasks on the event loop that serves the agent's sockets: what answers a message runs where the
/// message was read, and no other thread is woken for it.
final class EventLoopExecutor: TaskExecutor {
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
