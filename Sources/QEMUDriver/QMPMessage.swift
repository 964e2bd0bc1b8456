import Foundation

/// One line from QEMU's monitor (QEMU Machine Protocol specification), as far as we use it.
package enum QMPMessage: Sendable, Equatable {
    case greeting
    case answer(id: Int, QMPAnswer)
    case failure(id: Int, description: String)
    /// `guest` and `reason` are those of SHUTDOWN and RESET.
    case event(name: String, guest: Bool, reason: String)
    /// The event JOB_STATUS_CHANGE.
    case job(id: String, status: String)

    /// - Returns: nil for a line that is not QMP, or an answer that belongs to no command.
    package init?(line: some Collection<UInt8>) {
        guard let wire = try? JSONDecoder().decode(Wire.self, from: Data(line)) else { return nil }
        if wire.QMP != nil {
            self = .greeting
        } else if let event = wire.event, event == "JOB_STATUS_CHANGE" {
            guard let data = wire.data, let job = data.id, let status = data.status else { return nil }
            self = .job(id: job, status: status)
        } else if let event = wire.event {
            self = .event(name: event, guest: wire.data?.guest ?? false, reason: wire.data?.reason ?? "")
        } else if let id = wire.id {
            self =
                wire.error.map { .failure(id: id, description: $0.desc) }
                ?? .answer(id: id, QMPAnswer(line: Data(line), text: wire.value))
        } else {
            return nil
        }
    }

    private struct Wire: Decodable {
        struct Empty: Decodable {}
        struct EventData: Decodable {
            var guest: Bool?
            var reason: String?
            var id: String?
            var status: String?
        }
        struct Failure: Decodable {
            var desc: String
        }
        struct Status: Decodable {
            var status: String?
        }

        var QMP: Empty?
        var event: String?
        var data: EventData?
        var id: Int?
        var error: Failure?
        var value: String?

        enum CodingKeys: String, CodingKey {
            case QMP, event, data, id, error
            case result = "return"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            QMP = try values.decodeIfPresent(Empty.self, forKey: .QMP)
            event = try values.decodeIfPresent(String.self, forKey: .event)
            // Events that are not used here may have other values under the same names.
            data = try? values.decodeIfPresent(EventData.self, forKey: .data)
            id = try? values.decodeIfPresent(Int.self, forKey: .id)
            error = try values.decodeIfPresent(Failure.self, forKey: .error)
            let status = (try? values.decodeIfPresent(Status.self, forKey: .result))?.status
            value = status ?? (try? values.decodeIfPresent(String.self, forKey: .result))
        }
    }
}

/// The answer to a command.
package struct QMPAnswer: Sendable, Equatable {
    fileprivate let line: Data
    /// The `status` of the answer if it has one, or the answer itself if it is text.
    package let text: String?

    /// Stands for the greeting, which has no value.
    static let greeting = QMPAnswer(line: Data(), text: nil)

    private struct Wire<Value: Decodable>: Decodable {
        var value: Value

        enum CodingKeys: String, CodingKey { case value = "return" }
    }

    /// - Throws: `DecodingError` if the answer has another form.
    package func decoded<Value: Decodable>() throws -> Value {
        try JSONDecoder().decode(Wire<Value>.self, from: line).value
    }
}
