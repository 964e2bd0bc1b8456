// Stands for the texts that SwiftPM compiles in.
struct PackageResources {
    static let mini_yaml: [UInt8] = []
    static let debian_yaml: [UInt8] = []
    static let channel_sh: [UInt8] = []
    static let boot_sh: [UInt8] = []
    static let lima_vm_INSTANCE_service: [UInt8] = []
}
