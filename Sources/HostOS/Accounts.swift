import HostModel

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Accounts of this host's user database (getpwuid_r(3)).
extension HostProcess {
    /// This process's account; nil when the database does not have it. Looked up once, because several tasks may ask at
    /// a time.
    package static let account: Account? = account(uid: getuid())

    /// The account with this number; nil where there is none.
    package static func account(uid: UInt32) -> Account? {
        lookUp { entry, buffer, size, found in getpwuid_r(uid, entry, buffer, size, found) }
    }

    /// The account of this name; nil where there is none.
    package static func account(named name: String) -> Account? {
        lookUp { entry, buffer, size, found in getpwnam_r(name, entry, buffer, size, found) }
    }

    private static func lookUp(
        _ ask: (
            UnsafeMutablePointer<passwd>, UnsafeMutablePointer<CChar>, Int,
            UnsafeMutablePointer<UnsafeMutablePointer<passwd>?>
        ) -> Int32
    ) -> Account? {
        var size = 1024
        while size <= 1 << 20 {
            var entry = passwd()
            var found: UnsafeMutablePointer<passwd>?
            let (code, account): (Int32, Account?) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: size) {
                guard let buffer = $0.baseAddress else { return (EINVAL, nil) }
                let code = ask(&entry, buffer, size, &found)
                guard code == 0, found != nil else { return (code, nil) }
                let account = Account(
                    name: String(cString: entry.pw_name), uid: entry.pw_uid, gid: entry.pw_gid,
                    home: String(cString: entry.pw_dir))
                return (0, account)
            }
            // ERANGE: the entry needs a larger buffer.
            if code != ERANGE { return account }
            size *= 2
        }
        return nil
    }
}
