import NIOCore
import NIOPosix

/// Runs tasks on the event loop that serves the agent's sockets. A message is then answered on the thread that read it,
/// and no other thread is woken.
final class EventLoopExecutor: TaskExecutor {
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
