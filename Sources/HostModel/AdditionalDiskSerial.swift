/// The serial number by which a guest finds the device of an additional disk. Of a virtio disk, 20 bytes are kept (virtio
/// 1.2, 5.2.6).
package enum AdditionalDiskSerial {
    /// - Parameter index: the place of the disk in `additionalDisks`, from 0.
    package static func text(_ index: Int) -> String { "hostagent-disk-\(index)" }
}
