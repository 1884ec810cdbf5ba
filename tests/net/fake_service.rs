use futures_util::{SinkExt, StreamExt};
use olmcast::protocol::service::{ClientFrame, ServerFrame};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use crate::fixture::*;

/// Speaks just enough of the service's side.
pub(crate) struct FakeService(WebSocketStream<TcpStream>);

impl FakeService {
    pub(crate) async fn accept(listener: &TcpListener, instance: [u8; 16]) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut service = Self(accept_async(stream).await.unwrap());
        service.say(&ServerFrame::Challenge { nonce: [0; 32] }).await;
        assert!(matches!(service.hear().await, ClientFrame::Authenticate { .. }));
        service.say(&ServerFrame::Welcome { instance }).await;
        service
    }

    pub(crate) async fn say(&mut self, frame: &ServerFrame) {
        let bytes = frame.encode().unwrap();
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> ClientFrame {
        match timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => ClientFrame::decode(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn ack(&mut self) -> u64 {
        loop {
            if let ClientFrame::Ack { sequence } = self.hear().await {
                return sequence;
            }
        }
    }
}
