internal import Glibc

enum Signals {
    /// hiredis writes to sockets without `MSG_NOSIGNAL`. SIGPIPE goes to the thread that wrote, so blocking it there is enough, and leaves
    /// the process's own handling alone.
    static func blockBrokenPipe() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}
