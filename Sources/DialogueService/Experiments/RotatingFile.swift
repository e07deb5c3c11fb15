import Glibc

/// A file of lines of bounded size: when it is full it is renamed, and a new one begun. One owner at a time; one process at a time, which a lock ensures.
///
/// It holds whole lines only: what could not be written to its end is cut off again, and an end that a crash left open is closed.
final class RotatingFile {
    private let path: String
    private let maximumBytes: Int
    private let files: Int
    /// -1: it could not be opened again after it was renamed.
    private var descriptor: CInt = -1
    private var size = 0

    /// Opens or makes the file.
    init(_ path: String, maximumBytes: Int, files: Int) throws(FileError) {
        precondition(maximumBytes > 0 && files > 0, "there is at least one file, and it holds something")
        self.path = path
        self.maximumBytes = maximumBytes
        self.files = files
        try open()
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Adds a line, which has its end.
    ///
    /// - Throws: ``FileError`` where it could not be written, and is not in the file.
    func append(_ line: [UInt8]) throws(FileError) {
        if descriptor < 0 { try open() }
        if size > 0, size + line.count > maximumBytes { try rotate() }
        var done = 0
        while done < line.count {
            let count = line.withUnsafeBytes { write(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                let error = FileError(path, "it cannot be written", errno)
                if done > 0 { ftruncate(descriptor, off_t(size)) }
                throw error
            }
            done += count
        }
        size += line.count
    }

    private func open() throws(FileError) {
        let opened = Glibc.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw FileError(path, "it cannot be opened", errno) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let error = FileError(path, "another process has it", errno)
            close(opened)
            throw error
        }
        descriptor = opened
        size = max(0, Int(lseek(opened, 0, SEEK_END)))
        var last: UInt8 = 0
        if size > 0, pread(opened, &last, 1, off_t(size - 1)) == 1, last != UInt8(ascii: "\n") { try append([UInt8(ascii: "\n")]) }
    }

    private func rotate() throws(FileError) {
        for number in stride(from: files - 1, to: 0, by: -1) {
            let from = number == 1 ? path : "\(path).\(number - 1)"
            if rename(from, "\(path).\(number)") != 0, errno != ENOENT { throw FileError(from, "it cannot be renamed", errno) }
        }
        if files == 1 { unlink(path) }
        close(descriptor)
        descriptor = -1
        try open()
    }
}

/// Why a file could not be used.
struct FileError: Error, CustomStringConvertible {
    /// The file, what could not be done, and what the system says.
    let description: String

    init(_ path: String, _ what: String, _ code: CInt) { description = "\(path): \(what): \(String(cString: strerror(code)))" }
}
