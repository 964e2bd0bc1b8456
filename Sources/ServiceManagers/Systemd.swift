#if os(Linux)
    import CSDNotify
    import Glibc

    /// The functions of libsystemd that are needed.
    enum Systemd {
        static func userUnit(of pid: Int32) -> String? { unit { sd_pid_get_user_unit(pid, $0) } }

        static func systemUnit(of pid: Int32) -> String? { unit { sd_pid_get_unit(pid, $0) } }

        private static func unit(_ call: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32) -> String? {
            var name: UnsafeMutablePointer<CChar>?
            guard call(&name) >= 0, let name else { return nil }
            defer { free(name) }
            return String(cString: name)
        }

        /// sd_notify(3): true if the message was sent, false if there is no receiver or sending failed.
        static func notify(_ state: String) -> Bool { sd_notify(0, state) > 0 }
    }
#else
    /// There is no systemd here.
    enum Systemd {
        static func userUnit(of pid: Int32) -> String? { nil }
        static func systemUnit(of pid: Int32) -> String? { nil }
        static func notify(_ state: String) -> Bool { false }
    }
#endif
