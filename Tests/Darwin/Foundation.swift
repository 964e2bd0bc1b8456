// Stands for Apple's Foundation, as far as the checked targets use it. Nothing here is ever executed.
public struct Data: Sendable, Hashable, Codable, RandomAccessCollection {
    public init(_ bytes: some Sequence<UInt8>) {}
    public var startIndex: Int { 0 }
    public var endIndex: Int { 0 }
    public subscript(position: Int) -> UInt8 { fatalError() }
}
public class JSONEncoder {
    public init() {}
    public func encode(_ value: some Encodable) throws -> Data { fatalError() }
}
public class JSONDecoder {
    public init() {}
    public func decode<Value: Decodable>(_ type: Value.Type, from data: Data) throws -> Value { fatalError() }
}
public enum PropertyListSerialization {
    public enum PropertyListFormat: Sendable { case xml, binary }
}
public class PropertyListEncoder {
    public init() {}
    public var outputFormat = PropertyListSerialization.PropertyListFormat.xml
    public func encode(_ value: some Encodable) throws -> Data { fatalError() }
}
public class PropertyListDecoder {
    public init() {}
    public func decode<Value: Decodable>(_ type: Value.Type, from data: Data) throws -> Value { fatalError() }
}
